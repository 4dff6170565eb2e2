/**
 * QoS 2 messages of a client on their way in: which packet identifiers it holds, so that what it sends again is not
 * published again. MQTT 5 §4.3.3, method of the receiver.
 */

/** MQTT 3.1.1 cannot be told a receive maximum; no client of it that counts holds more. */
const leastHeld = 1_024;

/** `accepting`: not answered yet; `held`: PUBREC was sent; `releasing`: PUBREL came, and PUBCOMP waits for the store. */
type Phase = 'accepting' | 'held' | 'releasing';

export class IncomingExchanges {
  /** There once the client has sent a message of QoS 2. */
  #open: Map<number, Phase> | undefined;
  /** Those of an earlier connection: the quota of a connection is its own (MQTT 5 §4.9). */
  #inherited: Set<number> | undefined;

  /** Those of an earlier connection. */
  inherit(packetIds: readonly number[]): void {
    if (packetIds.length === 0) return;
    this.#inherited = new Set(packetIds);
    for (const packetId of packetIds) this.#set(packetId, 'held');
  }

  /** Begun on this connection and not completed. */
  get begun(): number {
    return (this.#open?.size ?? 0) - (this.#inherited?.size ?? 0);
  }

  /** More than this may not be held, whatever the version and however many connections they came by. */
  isFull(receiveMaximum: number): boolean {
    return (this.#open?.size ?? 0) >= Math.max(receiveMaximum, leastHeld);
  }

  phase(packetId: number): Phase | undefined {
    return this.#open?.get(packetId);
  }

  accepting(packetId: number): void {
    this.#set(packetId, 'accepting');
  }

  /** It was accepted (`held`), or refused: then its identifier is free again. */
  answered(packetId: number, held: boolean): void {
    if (held) this.#set(packetId, 'held');
    else this.completed(packetId);
  }

  /** PUBREL. @returns false when it is of nothing that waits for one. */
  releasing(packetId: number): boolean {
    if (this.#open?.get(packetId) !== 'held') return false;
    this.#set(packetId, 'releasing');
    return true;
  }

  /** PUBCOMP goes out: whatever comes with this identifier from now on is a new message (MQTT-4.3.3-12). */
  completed(packetId: number): void {
    this.#open?.delete(packetId);
    this.#inherited?.delete(packetId);
  }

  #set(packetId: number, phase: Phase): void {
    this.#open ??= new Map();
    this.#open.set(packetId, phase);
  }
}
