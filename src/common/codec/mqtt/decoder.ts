/** Bytes to packets, as they arrive: framing, limits and the order of a connection's first packet. */
import { SallyportError } from '../../base/errors.ts';
import { byteAt } from './byte-at.ts';
import { Cursor, emptyBuffer } from './cursor.ts';
import type { DecodeContext, DecoderLimits, Role } from './decode-context.ts';
import { checkFirstByte, packetTypeOf } from './fixed-header.ts';
import type { Packet, ProtocolVersion } from './packets.ts';
import { decodeAuth } from './packets/auth.ts';
import { decodeConnack } from './packets/connack.ts';
import { decodeConnect, peekVersion } from './packets/connect.ts';
import { decodeDisconnect } from './packets/disconnect.ts';
import { decodePublishResponse } from './packets/publish-response.ts';
import { decodePublish } from './packets/publish.ts';
import { decodeSuback } from './packets/suback.ts';
import { decodeSubscribe } from './packets/subscribe.ts';
import { decodeUnsuback } from './packets/unsuback.ts';
import { decodeUnsubscribe } from './packets/unsubscribe.ts';
import { malformed, MqttProtocolError } from './protocol-error.ts';
import { ReasonCode } from './reason-codes.ts';
import { variableByteIntegerBytes } from './variable-byte-integer.ts';

export type { DecoderLimits, Role } from './decode-context.ts';

const initialTailBytes = 64;
const maximumHeaderBytes = 1 + variableByteIntegerBytes;

/** Decoding never waits and never nests, so one cursor serves all connections. */
const cursor = new Cursor();

function decodeBody(firstByte: number, context: DecodeContext): Packet {
  const type = packetTypeOf(firstByte);
  switch (type) {
    case 'publish':
      return decodePublish(cursor, context, firstByte & 0x0f);
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return decodePublishResponse(cursor, context, type);
    case 'connect':
      return decodeConnect(cursor, context);
    case 'connack':
      return decodeConnack(cursor, context);
    case 'subscribe':
      return decodeSubscribe(cursor, context);
    case 'suback':
      return decodeSuback(cursor, context);
    case 'unsubscribe':
      return decodeUnsubscribe(cursor, context);
    case 'unsuback':
      return decodeUnsuback(cursor, context);
    case 'disconnect':
      return decodeDisconnect(cursor, context);
    case 'auth':
      return decodeAuth(cursor, context);
    case 'pingreq':
    case 'pingresp':
      return { type };
  }
}

/**
 * One per connection. `push` what was read, then call `next` until it returns undefined, and only then `push` again; a
 * connection that stops in between stops reading too. The order of a server's packets (CONNACK first, and once) is left
 * to the client's session.
 */
export class MqttDecoder {
  readonly #context: DecodeContext;
  /** Bytes that arrived and were not looked at yet: `#chunk` from `#position` on. Borrowed from the reader. */
  #chunk: Buffer = emptyBuffer;
  #position = 0;
  /** Start of a packet whose end has not arrived: the first `#tailLength` bytes, ours. */
  #tail: Buffer = emptyBuffer;
  #tailLength = 0;
  /** Bytes of the packet that `#tail` starts, fixed header included; 0 while its header is incomplete. */
  #tailTotal = 0;
  /** Bytes of the fixed header that `#judge` has seen last. */
  #headerBytes = 0;
  #dead = false;

  constructor(role: Role, limits: DecoderLimits) {
    this.#context = {
      role,
      limits,
      version: undefined,
      claimedVersion: undefined,
      lastTopic: '',
      sendable: undefined,
    };
  }

  /** A server's is set by the CONNECT it decodes; a client sets its own before the first `push`. */
  get version(): ProtocolVersion | undefined {
    return this.#context.version;
  }

  set version(version: ProtocolVersion | undefined) {
    this.#context.version = version;
  }

  /**
   * The packet that `next` has returned, whole, when any receiver of the same version can be sent the same bytes: a
   * PUBLISH of QoS 0, not retained, without properties. Lent until the next call of `next`.
   */
  get sendable(): Buffer | undefined {
    return this.#context.sendable;
  }

  /** Bytes held and not decoded. After `next` returned undefined, fewer than the limit on a packet. */
  get bufferedBytes(): number {
    return this.#tailLength + this.#chunk.length - this.#position;
  }

  /**
   * The chunk is borrowed until `next` returns undefined; then only a copy of an incomplete last packet is kept.
   * A chunk that is pushed too early is joined to what is left of the one before, by copying both.
   */
  push(chunk: Buffer): void {
    if (this.#context.role === 'client' && this.#context.version === undefined) {
      throw new SallyportError('internal', 'A client decodes only after its version is set.');
    }
    if (this.#dead) return;
    const unread = this.#chunk.length - this.#position;
    this.#chunk =
      unread === 0 ? chunk : Buffer.concat([this.#chunk.subarray(this.#position), chunk]);
    this.#position = 0;
  }

  /**
   * The next packet, or undefined until more is pushed. Its buffers are lent until the next `push`.
   *
   * @throws MqttProtocolError once; from then on the decoder takes and gives nothing.
   */
  next(): Packet | undefined {
    this.#context.sendable = undefined;
    try {
      return this.#tailLength === 0 ? this.#fromChunk() : this.#fromTail();
    } catch (thrown) {
      this.#dead = true;
      this.#releaseChunk();
      this.#dropTail();
      cursor.detach();
      throw this.#complete(thrown);
    }
  }

  /** The common case: packets that lie whole in the chunk are decoded where they are. */
  #fromChunk(): Packet | undefined {
    const start = this.#position;
    const available = this.#chunk.length - start;
    if (available === 0) return undefined;
    const total = this.#judge(this.#chunk, start, this.#chunk.length);
    if (total === 0 || total > available) {
      this.#tailTotal = total;
      this.#moveToTail(available);
      return undefined;
    }
    this.#position = start + total;
    const packet = this.#decode(this.#chunk, start, start + total);
    if (this.#position === this.#chunk.length) this.#releaseChunk();
    return packet;
  }

  #fromTail(): Packet | undefined {
    while (this.#tailTotal === 0) {
      if (this.#position === this.#chunk.length) return undefined;
      this.#moveToTail(1);
      this.#tailTotal = this.#judge(this.#tail, 0, this.#tailLength);
    }
    const missing = this.#tailTotal - this.#tailLength;
    const available = this.#chunk.length - this.#position;
    this.#moveToTail(Math.min(missing, available));
    if (missing > available) return undefined;
    // A packet's buffers are slices of this tail: the next tail is another one.
    const tail = this.#tail;
    const total = this.#tailTotal;
    this.#dropTail();
    return this.#decode(tail, 0, total);
  }

  /**
   * Reads the fixed header and refuses what can be refused from it.
   *
   * @returns bytes of the whole packet, or 0 while the header is incomplete
   */
  #judge(buffer: Buffer, start: number, end: number): number {
    checkFirstByte(byteAt(buffer, start), this.#context);
    let remainingLength = 0;
    for (let index = 1; index < maximumHeaderBytes; index += 1) {
      if (start + index >= end) return 0;
      const byte = byteAt(buffer, start + index);
      remainingLength |= (byte & 0x7f) << (7 * (index - 1));
      if (byte >= 0x80) continue;
      if (byte === 0 && index > 1) {
        throw malformed('A remaining length is longer than needed.', 'MQTT-1.5.5-1');
      }
      this.#headerBytes = index + 1;
      const total = this.#headerBytes + remainingLength;
      this.#checkSize(total, buffer, start + this.#headerBytes, end);
      return total;
    }
    throw malformed('A remaining length has more than four bytes.');
  }

  #checkSize(total: number, buffer: Buffer, bodyStart: number, end: number): void {
    const { limits, version } = this.#context;
    if (total <= (version === undefined ? limits.connectBytes : limits.packetBytes)) return;
    if (version === undefined) {
      // The tail holds nothing but the header that has just become complete: the body is still in the chunk.
      const body =
        buffer === this.#tail
          ? this.#chunk.subarray(this.#position)
          : buffer.subarray(bodyStart, end);
      this.#context.claimedVersion = peekVersion(body);
    }
    throw new MqttProtocolError(
      ReasonCode.packetTooLarge,
      `A packet of ${total} bytes is over the limit.`,
    );
  }

  #decode(buffer: Buffer, start: number, end: number): Packet {
    cursor.attach(buffer, start + this.#headerBytes, end);
    cursor.start = start;
    const packet = decodeBody(byteAt(buffer, start), this.#context);
    if (cursor.remaining > 0) throw malformed('A packet goes on after its last field.');
    cursor.detach();
    if (packet.type === 'connect') this.#context.version = packet.version;
    return packet;
  }

  /** Says in an error what the listener needs for its answer. */
  #complete(thrown: unknown): unknown {
    if (!(thrown instanceof MqttProtocolError)) return thrown;
    const { role, version, claimedVersion } = this.#context;
    thrown.version = version ?? claimedVersion;
    thrown.beforeConnect = role === 'server' && version === undefined;
    return thrown;
  }

  /** Copies the next `bytes` of the chunk behind the tail. */
  #moveToTail(bytes: number): void {
    const needed = this.#tailLength + bytes;
    if (needed > this.#tail.length) {
      // Doubling, and not what the header declares: a declared size costs its sender nothing.
      const doubled = Math.max(needed, 2 * this.#tail.length, initialTailBytes);
      const capacity = this.#tailTotal === 0 ? doubled : Math.min(doubled, this.#tailTotal);
      // Outside the pool, where a few bytes would keep a whole slab alive.
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.#tail.copy(grown, 0, 0, this.#tailLength);
      this.#tail = grown;
    }
    this.#chunk.copy(this.#tail, this.#tailLength, this.#position, this.#position + bytes);
    this.#tailLength = needed;
    this.#position += bytes;
    if (this.#position === this.#chunk.length) this.#releaseChunk();
  }

  #dropTail(): void {
    this.#tail = emptyBuffer;
    this.#tailLength = 0;
    this.#tailTotal = 0;
  }

  #releaseChunk(): void {
    this.#chunk = emptyBuffer;
    this.#position = 0;
  }
}
