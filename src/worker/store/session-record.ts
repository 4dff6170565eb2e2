/**
 * A session as it is stored, but for its queue.
 *
 *   u8 version | u8 flags | 12 bytes id | u32 expiry in seconds | u32 owner's slot, 8 bytes token, if owned |
 *   f64 end of the connection, if ended | u32 delay in seconds, u32 length, will, if any | the subscriptions: the rest
 *
 * A subscription: u16 length | filter | u8 options | u8 identifiers | u32 each. Will and identifiers of messages are
 * secret or not as their writer decides: here they are bytes.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { QoS } from '../../common/codec/mqtt/packets.ts';
import { noIdentifiers } from '../broker/ports.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import type { SessionId } from '../broker/sessions.ts';
import { neverExpires } from '../broker/sessions.ts';

const recordVersion = 1;
const flag = { owned: 0x01, ended: 0x02, will: 0x04, queue: 0x08, known: 0x0f } as const;
const option = { qos: 0x03, noLocal: 0x04, retainAsPublished: 0x08, known: 0x0f } as const;
const idBytes = 12;
const fixedBytes = 2 + idBytes + 4;
const ownerBytes = 12;
const endedBytes = 8;
const willBytes = 8;
const tokenDigits = 16;

/** A process: a slot is used again, a token never. */
export interface Owner {
  readonly slot: number;
  /** 16 hex digits. */
  readonly token: string;
}

export interface StoredWill {
  readonly delaySeconds: number;
  readonly sealed: Buffer;
}

/** A session without what it subscribes to. */
export interface SessionLife {
  readonly id: SessionId;
  readonly expirySeconds: number;
  /** Whose client it is; of a session whose connection has ended, who is about to publish its will or to remove it. */
  readonly owner: Owner | undefined;
  /** Milliseconds, wall clock; undefined = the connection has not ended, or not in order. */
  readonly endedAt: number | undefined;
  readonly will: StoredWill | undefined;
  /** Messages may be queued for it; not so for one that is stored for the sake of its will alone. */
  readonly hasQueue: boolean;
}

/** Of a session of which nothing is to stay. @param endedAt milliseconds, wall clock. */
export function overSince(endedAt: number, id: SessionId, hasQueue: boolean): SessionLife {
  return { id, expirySeconds: 0, owner: undefined, endedAt, will: undefined, hasQueue };
}

export function encodeSession(
  life: SessionLife,
  subscriptions: ReadonlyMap<string, SubscriptionOptions>,
): Buffer {
  const { owner, endedAt, will, hasQueue } = life;
  const head = Buffer.alloc(
    fixedBytes +
      (owner === undefined ? 0 : ownerBytes) +
      (endedAt === undefined ? 0 : endedBytes) +
      (will === undefined ? 0 : willBytes),
  );
  const flags =
    (owner === undefined ? 0 : flag.owned) |
    (endedAt === undefined ? 0 : flag.ended) |
    (will === undefined ? 0 : flag.will) |
    (hasQueue ? flag.queue : 0);
  let at = head.writeUInt8(recordVersion, 0);
  at = head.writeUInt8(flags, at);
  at += head.write(life.id, at, idBytes, 'hex');
  at = head.writeUInt32BE(life.expirySeconds, at);
  if (owner !== undefined) {
    at = head.writeUInt32BE(owner.slot, at);
    at += head.write(owner.token, at, tokenDigits / 2, 'hex');
  }
  if (endedAt !== undefined) at = head.writeDoubleBE(endedAt, at);
  const parts: Buffer[] = [head];
  if (will !== undefined) {
    at = head.writeUInt32BE(will.delaySeconds, at);
    head.writeUInt32BE(will.sealed.length, at);
    parts.push(will.sealed);
  }
  for (const [filter, options] of subscriptions) parts.push(subscriptionBytes(filter, options));
  return Buffer.concat(parts);
}

/** @throws SallyportError `io` for a record that a newer version wrote, `tampered` for one that is damaged. */
export function decodeLife(record: Buffer): SessionLife {
  return readRecord(record).life;
}

/** @throws SallyportError `io`, `tampered` */
export function decodeSession(record: Buffer): {
  readonly life: SessionLife;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
} {
  const { life, end } = readRecord(record);
  const subscriptions = new Map<string, SubscriptionOptions>();
  let at = end;
  while (at < record.length) {
    const length = record.readUInt16BE(need(record, at, 2));
    need(record, at, 4 + length);
    const filter = record.toString('utf8', at + 2, at + 2 + length);
    const bits = record.readUInt8(at + 2 + length);
    const count = record.readUInt8(at + 3 + length);
    at += 4 + length;
    need(record, at, count * 4);
    subscriptions.set(filter, optionsOf(bits, record, at, count));
    at += count * 4;
  }
  return { life, subscriptions };
}

/** Whether the session is over when its connection is; or is over already. */
export function isOver({ expirySeconds, endedAt }: SessionLife, nowMs: number): boolean {
  if (expirySeconds === 0) return true;
  return endedAt !== undefined && expiresAt(expirySeconds, endedAt) <= nowMs;
}

/** When there is something to do about a session whose connection has ended. `Infinity` = never. */
export function dueAt({ expirySeconds, endedAt, will }: SessionLife): number {
  if (endedAt === undefined) return Number.POSITIVE_INFINITY;
  const over = expiresAt(expirySeconds, endedAt);
  return will === undefined ? over : Math.min(over, endedAt + will.delaySeconds * 1_000);
}

function expiresAt(expirySeconds: number, endedAt: number): number {
  if (expirySeconds === neverExpires) return Number.POSITIVE_INFINITY;
  return endedAt + expirySeconds * 1_000;
}

function readRecord(record: Buffer): { readonly life: SessionLife; readonly end: number } {
  need(record, 0, fixedBytes);
  const flags = record.readUInt8(1);
  if (record.readUInt8(0) !== recordVersion) {
    throw new SallyportError('io', 'a stored session is of an unknown version');
  }
  if ((flags & ~flag.known) !== 0) throw damaged();
  const id = record.toString('hex', 2, 2 + idBytes);
  const expirySeconds = record.readUInt32BE(2 + idBytes);
  let at = fixedBytes;
  let owner: Owner | undefined;
  if ((flags & flag.owned) !== 0) {
    need(record, at, ownerBytes);
    const token = record.toString('hex', at + 4, at + ownerBytes);
    owner = { slot: record.readUInt32BE(at), token };
    at += ownerBytes;
  }
  let endedAt: number | undefined;
  if ((flags & flag.ended) !== 0) {
    endedAt = record.readDoubleBE(need(record, at, endedBytes));
    at += endedBytes;
  }
  let will: StoredWill | undefined;
  if ((flags & flag.will) !== 0) {
    const delaySeconds = record.readUInt32BE(need(record, at, willBytes));
    const length = record.readUInt32BE(at + 4);
    at += willBytes;
    need(record, at, length);
    will = { delaySeconds, sealed: record.subarray(at, at + length) };
    at += length;
  }
  const hasQueue = (flags & flag.queue) !== 0;
  return { life: { id, expirySeconds, owner, endedAt, will, hasQueue }, end: at };
}

function subscriptionBytes(filter: string, options: SubscriptionOptions): Buffer {
  const { identifiers } = options;
  const length = Buffer.byteLength(filter);
  const bytes = Buffer.allocUnsafe(4 + length + identifiers.length * 4);
  let at = bytes.writeUInt16BE(length, 0);
  at += bytes.write(filter, at);
  at = bytes.writeUInt8(bitsOf(options), at);
  at = bytes.writeUInt8(identifiers.length, at);
  for (const identifier of identifiers) at = bytes.writeUInt32BE(identifier, at);
  return bytes;
}

function bitsOf({ qos, noLocal, retainAsPublished }: SubscriptionOptions): number {
  return qos | (noLocal ? option.noLocal : 0) | (retainAsPublished ? option.retainAsPublished : 0);
}

/** One object for all subscriptions that are alike: an index of all sessions holds them. */
const common = new Map<number, SubscriptionOptions>();

function optionsOf(bits: number, record: Buffer, at: number, count: number): SubscriptionOptions {
  const known = count === 0 ? common.get(bits) : undefined;
  if (known !== undefined) return known;
  const qos = bits & option.qos;
  if (!isQoS(qos) || (bits & ~option.known) !== 0) throw damaged();
  const identifiers = Array.from({ length: count }, (_, i) => record.readUInt32BE(at + i * 4));
  const options: SubscriptionOptions = Object.freeze({
    qos,
    noLocal: (bits & option.noLocal) !== 0,
    retainAsPublished: (bits & option.retainAsPublished) !== 0,
    identifiers: count === 0 ? noIdentifiers : Object.freeze(identifiers),
  });
  if (count === 0) common.set(bits, options);
  return options;
}

function isQoS(value: number): value is QoS {
  return value === 0 || value === 1 || value === 2;
}

/** @returns `at`. */
function need(record: Buffer, at: number, bytes: number): number {
  if (at + bytes > record.length) throw damaged();
  return at;
}

function damaged(): SallyportError {
  return new SallyportError('tampered', 'a stored session is damaged');
}
