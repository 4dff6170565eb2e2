/**
 * What waits to go out on one connection: bytes of this tick, messages of QoS 1 and 2 in flight, and those that wait for
 * the client's receive maximum or for a slow reader. All of it bounded; writes are gathered per tick.
 */
import { withMessageExpiry, withPacketId } from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { OutgoingExchanges } from './outgoing-exchanges.ts';
import type { Done, Received } from './outgoing-exchanges.ts';
import type { SentAliases } from './topic-aliases.ts';

export interface OutboxLimits {
  readonly outboundBytes: number;
  readonly outboundMessages: number;
}

/** MQTT 5 §3.3.1.1, in the first byte of a PUBLISH. */
const dupFlag = 0x08;

export type Delivery = 'sent' | 'queued' | 'dropped' | 'overflow';

interface Waiting {
  readonly encoded: EncodedPublish;
  readonly qos: 1 | 2;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
  readonly done: Done;
}

export class Outbox {
  readonly exchanges: OutgoingExchanges;
  /** Set once the client has said that it takes topic aliases. */
  aliases: SentAliases | undefined;
  /** Called when the client takes more than it did. */
  onRoom: (() => void) | undefined;
  readonly #connection: SecureConnection;
  readonly #flusher: Flusher;
  readonly #limits: OutboxLimits;
  readonly #now: () => number;
  #mostInFlight: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #queue: Waiting[] = [];
  #queueBytes = 0;
  #writtenBytes = 0;
  /** Something that was written may still wait for the peer. */
  #unreadLeft = false;
  #closed = false;
  #waiting: (() => void)[] = [];
  /** Those that read on when the peer has taken what was sent. */
  #reading: (() => void)[] = [];

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
    this.#mostInFlight = limits.outboundMessages;
    this.exchanges = new OutgoingExchanges(this.#mostInFlight);
  }

  /** MQTT 5 §3.1.2.11.3: how many messages of QoS 1 and 2 the client takes before it has completed one. */
  setReceiveMaximum(value: number): void {
    this.exchanges.receiveMaximum = Math.min(value, this.#mostInFlight);
  }

  /** No more than this, whatever the client takes. */
  limitInFlight(most: number): void {
    this.#mostInFlight = Math.min(most, this.#mostInFlight);
    this.setReceiveMaximum(this.exchanges.receiveMaximum);
  }

  get buffered(): number {
    return this.#pendingBytes + this.#unread();
  }

  /** Of what was written. Only a write makes it grow: a connection that just publishes is not asked for every message. */
  #unread(): number {
    if (!this.#unreadLeft) return 0;
    const bytes = this.#connection.pendingBytes;
    this.#unreadLeft = bytes > 0;
    return bytes;
  }

  /** Goes out with everything else of this tick, in order. Until then `bytes` MUST NOT change; they are copied then. */
  send(bytes: Buffer): void {
    if (this.#pending.length === 0) this.#flusher.add(this);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
  }

  /** QoS 0: dropped when the reader is too slow for it. */
  sendUnacknowledged(encoded: EncodedPublish): Delivery {
    if (this.buffered > this.#limits.outboundBytes) return 'dropped';
    this.send(this.aliases === undefined ? encoded.bytes : this.aliases.encode(encoded, 0));
    return 'sent';
  }

  /**
   * QoS 1 and 2: queued while the client has enough to complete; `overflow` when the bound is reached.
   *
   * @param done called when the client has it, or has refused it; never when the connection ends before.
   */
  sendAcknowledged(
    encoded: EncodedPublish,
    qos: 1 | 2,
    expiresAt: number | undefined,
    done?: () => void,
  ): Delivery {
    if (this.canTake) {
      this.#dispatch(encoded, qos, done);
      return 'sent';
    }
    if (
      this.#queue.length >= this.#limits.outboundMessages ||
      this.#queueBytes + encoded.bytes.length > this.#limits.outboundBytes
    ) {
      return 'overflow';
    }
    this.#queue.push({ encoded, qos, expiresAt, done });
    this.#queueBytes += encoded.bytes.length;
    return 'queued';
  }

  /** What is sent with QoS 1 or 2 goes out at once. */
  get canTake(): boolean {
    return this.#queue.length === 0 && this.#hasRoom();
  }

  /** So many bytes more are no more than may wait. */
  fits(bytes: number): boolean {
    return this.buffered + bytes <= this.#limits.outboundBytes;
  }

  /** A message under an identifier of `exchanges`; MUST be sent, and the identifier was not sent before unless `dup`. */
  publish(encoded: EncodedPublish, packetId: number, dup: boolean): void {
    const { aliases } = this;
    const bytes =
      aliases === undefined ? withPacketId(encoded, packetId) : aliases.encode(encoded, packetId);
    if (dup) bytes.writeUInt8(bytes.readUInt8(0) | dupFlag, 0);
    this.send(bytes);
  }

  /** A PUBACK came. @returns false when nothing with this identifier waits for one. */
  acknowledged(packetId: number): boolean {
    const sent = this.exchanges.acknowledged(packetId);
    if (sent !== undefined) this.#completed(sent.done);
    return sent !== undefined;
  }

  /** A PUBREC came; `released`, `again`: PUBREL is due. */
  received(packetId: number, refused: boolean): Received {
    const { is, sent } = this.exchanges.received(packetId, refused);
    if (is === 'ended') this.#completed(sent?.done);
    else sent?.done?.();
    return is;
  }

  /** A PUBCOMP came. @returns false when nothing with this identifier waits for one. */
  completed(packetId: number): boolean {
    const sent = this.exchanges.completed(packetId);
    if (sent !== undefined) this.#completed(sent.done);
    return sent !== undefined;
  }

  /** Sends what waits, as far as there is room; what has expired meanwhile is dropped (MQTT-3.3.2-5). */
  pump(): void {
    let sent = 0;
    while (sent < this.#queue.length && this.#hasRoom()) {
      const next = this.#queue[sent];
      if (next === undefined) break;
      sent += 1;
      this.#queueBytes -= next.encoded.bytes.length;
      const encoded = this.#asOfNow(next);
      if (encoded !== undefined) this.#dispatch(encoded, next.qos, next.done);
    }
    if (sent > 0) this.#queue = this.#queue.slice(sent);
    if (this.roomy) this.#wake();
    if (this.#isTaken()) this.#readOn();
    // A reader of a queue that reads for each message again what is in flight would read most of it in vain.
    const { room, receiveMaximum } = this.exchanges;
    if (room * 2 >= receiveMaximum && this.canTake) this.onRoom?.();
  }

  /** With what is left of its expiry; undefined: nothing is. */
  #asOfNow({ encoded, expiresAt }: Waiting): EncodedPublish | undefined {
    if (expiresAt === undefined) return encoded;
    const leftMs = expiresAt - this.#now();
    return leftMs > 0 ? withMessageExpiry(encoded, Math.ceil(leftMs / 1_000)) : undefined;
  }

  /** Bytes handed to the connection so far. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** More waits than this connection may make wait: nothing more is read from it until that has gone. */
  get full(): boolean {
    return this.buffered > this.#limits.outboundBytes;
  }

  /** Less than half of the bounds is used. */
  get roomy(): boolean {
    return (
      this.#queue.length * 2 <= this.#limits.outboundMessages &&
      this.#queueBytes * 2 <= this.#limits.outboundBytes &&
      this.#isTaken()
    );
  }

  #isTaken(): boolean {
    return this.buffered * 2 <= this.#limits.outboundBytes;
  }

  /**
   * Resolves when the peer has taken most of what was sent; also when the connection is gone. What waits for
   * acknowledgements is not waited for: they have to be read.
   */
  async taken(): Promise<void> {
    if (this.#closed || this.#isTaken()) return;
    await new Promise<void>((resolve) => this.#reading.push(resolve));
  }

  /**
   * To be called about once a second: what a stream has buffered below its own mark it sends without a word, and that
   * mark may be above these limits.
   */
  tick(): void {
    const waits = this.#queue.length + this.#reading.length + this.#waiting.length > 0;
    if (waits || this.#unreadLeft) this.pump();
  }

  /** Resolves when there is room again; also when the connection is gone. */
  async room(): Promise<void> {
    if (this.#closed || this.roomy) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  flush(): void {
    const pending = this.#pending;
    if (pending.length === 0) return;
    this.#pending = [];
    // A copy even of one: it may be a slice of a read buffer, which a slow reader must not keep.
    const bytes = joined(pending, this.#pendingBytes);
    this.#unreadLeft = true;
    this.#pendingBytes = 0;
    this.#writtenBytes += bytes.length;
    // What was written at once leaves room that no `drain` will tell of.
    if (this.#connection.write(bytes)) this.pump();
  }

  close(): void {
    this.#queue = [];
    this.#queueBytes = 0;
    this.flush();
    this.#closed = true;
    this.onRoom = undefined;
    this.#wake();
    this.#readOn();
  }

  #hasRoom(): boolean {
    return this.exchanges.room > 0 && this.buffered <= this.#limits.outboundBytes;
  }

  #readOn(): void {
    const reading = this.#reading;
    this.#reading = [];
    for (const resolve of reading) resolve();
  }

  #completed(done: Done): void {
    this.pump();
    done?.();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #dispatch(encoded: EncodedPublish, qos: 1 | 2, done: Done): void {
    const packetId = this.exchanges.begin({ qos, id: undefined, queued: false, done });
    this.publish(encoded, packetId, false);
  }
}

/** `Buffer.concat` without its checks of every piece, which were 5 % of a message (mqtt-pipelined). */
function joined(pieces: readonly Buffer[], length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
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
