/**
 * Messages of QoS 1 and 2 on their way to a client that has not completed them: packet identifiers, phases and the send
 * quota. MQTT 5 §2.2.1, §4.3, §4.9.
 */
import type { QueuedId } from '../../broker/message.ts';
import type { InFlight } from '../../broker/sessions.ts';

/** MQTT 5 §2.2.1. */
const maxPacketId = 65_535;

/** What is to be done when the client has a message; for most nothing. */
export type Done = (() => void) | undefined;

/** What a message is to whoever sent it. */
export interface Sent {
  readonly qos: 1 | 2;
  /** Under which its exchange is stored; undefined: it is gone with its connection. */
  readonly id: QueuedId | undefined;
  /**
   * False: another one than the session's queue keeps the message until the client has it, and gives it anew when the
   * connection ends before. Then all that is stored is that the client may hold the identifier, and `done` is due as
   * soon as it does.
   */
  readonly queued: boolean;
  readonly done: Done;
}

interface Exchange extends Sent {
  /** PUBREC has come: only PUBCOMP is missing. */
  readonly released: boolean;
  /** Sent on this connection, and so part of its send quota. */
  readonly counts: boolean;
}

/** One for all messages that nobody waits for: most of those in flight cost no memory but for their identifier. */
const plain: Readonly<Record<1 | 2, Exchange>> = Object.freeze({
  1: exchange({ qos: 1, id: undefined, queued: false, done: undefined }, false, true),
  2: exchange({ qos: 2, id: undefined, queued: false, done: undefined }, false, true),
});
const plainReleased = exchange(plain[2], true, true);

/** `again`: it was said before. */
export type Received = 'unknown' | 'released' | 'again' | 'ended';

export class OutgoingExchanges {
  /** There once something was in flight. Those that wait for PUBCOMP are in the order of their PUBRECs. */
  #open: Map<number, Exchange> | undefined;
  #counting = 0;
  #lastPacketId = 0;
  #receiveMaximum: number;

  constructor(receiveMaximum: number) {
    this.#receiveMaximum = Math.min(receiveMaximum, maxPacketId);
  }

  /** MQTT 5 §3.1.2.11.3. */
  get receiveMaximum(): number {
    return this.#receiveMaximum;
  }

  set receiveMaximum(value: number) {
    this.#receiveMaximum = Math.min(value, maxPacketId);
  }

  /** How many more the client takes now. */
  get room(): number {
    return Math.min(this.#receiveMaximum - this.#counting, maxPacketId - (this.#open?.size ?? 0));
  }

  /** @returns the packet identifier. MUST only be called while there is room. */
  begin(sent: Sent): number {
    const packetId = this.#nextPacketId();
    const isPlain = sent.id === undefined && sent.done === undefined;
    this.#table().set(packetId, isPlain ? plain[sent.qos] : exchange(sent, false, true));
    this.#counting += 1;
    return packetId;
  }

  /** One of an earlier connection: its identifier is taken, and it takes part in the quota once it is sent again. */
  restore({ packetId, qos, id, released }: InFlight, done: Done): void {
    this.#table().set(packetId, exchange({ qos, id, queued: true, done }, released, false));
  }

  /** A restored one is sent again. @returns false when the client has answered it meanwhile. */
  resent(packetId: number): boolean {
    const known = this.#open?.get(packetId);
    if (known === undefined || known.released) return false;
    if (!known.counts) {
      // It keeps its place in the table.
      this.#open?.set(packetId, exchange(known, false, true));
      this.#counting += 1;
    }
    return true;
  }

  /** PUBACK. @returns undefined when no message of QoS 1 with this identifier is in flight. */
  acknowledged(packetId: number): Sent | undefined {
    const known = this.#open?.get(packetId);
    return known?.qos === 1 ? this.#end(packetId, known) : undefined;
  }

  /**
   * PUBREC. `refused`: its reason code says so, which ends the exchange (MQTT-4.3.3-4).
   *
   * @returns `sent` when it is done with.
   */
  received(packetId: number, refused: boolean): { readonly is: Received; readonly sent?: Sent } {
    const known = this.#open?.get(packetId);
    if (known?.qos !== 2) return { is: 'unknown' };
    if (refused) return { is: 'ended', sent: this.#end(packetId, known) };
    if (known.released) return { is: 'again' };
    this.#open?.delete(packetId);
    this.#open?.set(packetId, releasedOf(known));
    return known.queued ? { is: 'released' } : { is: 'released', sent: known };
  }

  /** PUBCOMP. @returns undefined when nothing with this identifier waits for one. */
  completed(packetId: number): Sent | undefined {
    const known = this.#open?.get(packetId);
    return known?.released === true ? this.#end(packetId, known) : undefined;
  }

  /** Those that outlive the connection, in the order in which they are to be sent again (MQTT 5 §4.6). */
  stored(): InFlight[] {
    const found: InFlight[] = [];
    for (const [packetId, { id, qos, queued, released }] of this.#open ?? []) {
      if (id === undefined) continue;
      // To a client that is told of the release of what it has not got, that is no harm (MQTT 5 §4.3.3).
      found.push({ packetId, id, qos, released: released || !queued });
    }
    return found;
  }

  #end(packetId: number, known: Exchange): Sent {
    this.#open?.delete(packetId);
    if (known.counts) this.#counting -= 1;
    return known;
  }

  #table(): Map<number, Exchange> {
    this.#open ??= new Map();
    return this.#open;
  }

  /** Fewer are in flight than there are identifiers, so one is always free. */
  #nextPacketId(): number {
    do {
      this.#lastPacketId = (this.#lastPacketId % maxPacketId) + 1;
    } while (this.#open?.has(this.#lastPacketId) === true);
    return this.#lastPacketId;
  }
}

function exchange(sent: Sent, released: boolean, counts: boolean): Exchange {
  const { qos, id, queued, done } = sent;
  return { qos, id, queued, done, released, counts };
}

function releasedOf(known: Exchange): Exchange {
  if (known === plain[2]) return plainReleased;
  return exchange(known.queued ? known : { ...known, done: undefined }, true, known.counts);
}
