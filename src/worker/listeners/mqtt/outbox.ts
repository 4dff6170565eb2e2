/**
 * What waits to go out on one connection: bytes of this tick, QoS 1 messages in flight, and QoS 1 messages that wait
 * for the client's receive maximum or for a slow reader. All of it bounded; writes are gathered per tick.
 */
import { withPacketId } from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';

export interface OutboxLimits {
  readonly outboundBytes: number;
  readonly outboundMessages: number;
}

/** MQTT 5 §2.2.1. */
const maxPacketId = 65_535;

export type Delivery = 'sent' | 'queued' | 'dropped' | 'overflow';

interface Waiting {
  readonly encoded: EncodedPublish;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
}

export class Outbox {
  readonly #connection: SecureConnection;
  readonly #flusher: Flusher;
  readonly #limits: OutboxLimits;
  readonly #now: () => number;
  #receiveMaximum: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  readonly #inFlight = new Set<number>();
  #queue: Waiting[] = [];
  #queueBytes = 0;
  #lastPacketId = 0;
  #writtenBytes = 0;
  #closed = false;
  #waiting: (() => void)[] = [];

  constructor(
    connection: SecureConnection,
    flusher: Flusher,
    limits: OutboxLimits,
    now: () => number,
  ) {
    this.#connection = connection;
    this.#now = now;
    this.#flusher = flusher;
    this.#limits = limits;
    this.#receiveMaximum = Math.min(maxPacketId, limits.outboundMessages);
  }

  /** MQTT 5 §3.1.2.11.3: how many QoS 1 messages the client takes before it acknowledges one. */
  setReceiveMaximum(value: number): void {
    this.#receiveMaximum = Math.min(value, maxPacketId, this.#limits.outboundMessages);
  }

  get buffered(): number {
    return this.#pendingBytes + this.#connection.pendingBytes;
  }

  /** Goes out with everything else of this tick, in order. */
  send(bytes: Buffer): void {
    if (this.#pending.length === 0) this.#flusher.add(this);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
  }

  /** QoS 0: dropped when the reader is too slow for it. */
  sendUnacknowledged(encoded: EncodedPublish): Delivery {
    if (this.buffered > this.#limits.outboundBytes) return 'dropped';
    this.send(encoded.bytes);
    return 'sent';
  }

  /** QoS 1: queued while the client has enough to acknowledge; `overflow` when the bound is reached. */
  sendAcknowledged(encoded: EncodedPublish, expiresAt: number | undefined): Delivery {
    if (this.#queue.length === 0 && this.#hasRoom()) {
      this.#dispatch(encoded);
      return 'sent';
    }
    if (
      this.#queue.length >= this.#limits.outboundMessages ||
      this.#queueBytes + encoded.bytes.length > this.#limits.outboundBytes
    ) {
      return 'overflow';
    }
    this.#queue.push({ encoded, expiresAt });
    this.#queueBytes += encoded.bytes.length;
    return 'queued';
  }

  /** A PUBACK came. @returns false when nothing with this identifier was in flight. */
  acknowledged(packetId: number): boolean {
    if (!this.#inFlight.delete(packetId)) return false;
    this.pump();
    return true;
  }

  /** Sends what waits, as far as there is room; what has expired meanwhile is dropped (MQTT-3.3.2-5). */
  pump(): void {
    let sent = 0;
    while (sent < this.#queue.length && this.#hasRoom()) {
      const next = this.#queue[sent];
      if (next === undefined) break;
      sent += 1;
      this.#queueBytes -= next.encoded.bytes.length;
      if (next.expiresAt === undefined || next.expiresAt > this.#now())
        this.#dispatch(next.encoded);
    }
    if (sent > 0) this.#queue = this.#queue.slice(sent);
    if (this.#roomy()) this.#wake();
  }

  /** Bytes handed to the connection so far. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** More waits than this connection may make wait: nothing more is read from it until that has gone. */
  get full(): boolean {
    return this.buffered > this.#limits.outboundBytes;
  }

  /** Resolves when less than half of the bounds is used; also when the connection is gone. */
  async room(): Promise<void> {
    if (this.#closed || this.#roomy()) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  flush(): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    const bytes = pending.length === 1 ? pending[0] : Buffer.concat(pending, this.#pendingBytes);
    this.#pendingBytes = 0;
    this.#writtenBytes += bytes?.length ?? 0;
    // What was written at once leaves room that no `drain` will tell of.
    if (bytes !== undefined && this.#connection.write(bytes)) this.pump();
  }

  close(): void {
    this.#queue = [];
    this.#queueBytes = 0;
    this.flush();
    this.#closed = true;
    this.#wake();
  }

  #hasRoom(): boolean {
    return (
      this.#inFlight.size < this.#receiveMaximum && this.buffered <= this.#limits.outboundBytes
    );
  }

  #roomy(): boolean {
    return (
      this.#queue.length * 2 <= this.#limits.outboundMessages &&
      this.#queueBytes * 2 <= this.#limits.outboundBytes &&
      this.buffered * 2 <= this.#limits.outboundBytes
    );
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #dispatch(encoded: EncodedPublish): void {
    const packetId = this.#nextPacketId();
    this.#inFlight.add(packetId);
    this.send(withPacketId(encoded, packetId));
  }

  /** Fewer are in flight than there are identifiers, so one is always free. */
  #nextPacketId(): number {
    do {
      this.#lastPacketId = (this.#lastPacketId % maxPacketId) + 1;
    } while (this.#inFlight.has(this.#lastPacketId));
    return this.#lastPacketId;
  }
}

/**
 * One write per connection and turn of the event loop: what a tick's reads make for one subscriber leaves as one TLS
 * record instead of one a message.
 */
export class Flusher {
  readonly #onFault: (outbox: Outbox, error: unknown) => void;
  #dirty: Outbox[] = [];

  constructor(onFault: (outbox: Outbox, error: unknown) => void) {
    this.#onFault = onFault;
  }

  add(outbox: Outbox): void {
    if (this.#dirty.push(outbox) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const outbox of dirty) this.#guard(outbox);
  }

  /** One connection's fault must not keep the others from their bytes. */
  #guard(outbox: Outbox): void {
    try {
      outbox.flush();
    } catch (error) {
      this.#onFault(outbox, error);
    }
  }
}
