/**
 * What there is of a session in the database of queues: keys and values.
 *
 *   1 | u32 slot                       the token of the process that has the slot now
 *   2 | 12 bytes session               a session that is over, whose rest is still to be removed
 *   3 | 12 bytes session               there as long as the session is
 *   3 | 12 bytes session | 1           what is in flight
 *   3 | 12 bytes session | 2 | u16     a packet id that was received and not released
 *   3 | 12 bytes session | 3 | 12 bytes message   a message that waits; the order of the keys is that of acceptance
 *
 * A message that waits: u8 version | u8 flags | f64 expiry, if any | u16 identifiers | u32 each | the message, sealed. What
 * is sealed is the same in every queue, what is before it is not.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { QueuedId } from '../broker/message.ts';
import { noIdentifiers } from '../broker/ports.ts';
import type { InFlight, SessionId } from '../broker/sessions.ts';

const kind = { worker: 1, over: 2, session: 3 } as const;
const part = { inFlight: 1, received: 2, queued: 3 } as const;
const idBytes = 12;
const lifeBytes = 1 + idBytes;
const partBytes = lifeBytes + 1;

const entryVersion = 1;
const flag = { qos2: 0x01, retain: 0x02, expires: 0x04, known: 0x07 } as const;
const inFlightBytes = 3 + idBytes;
const inFlightFlag = { qos2: 0x01, released: 0x02 } as const;

export interface KeyRange {
  readonly start: Buffer;
  /** Not included. */
  readonly end: Buffer;
}

export interface EntryHead {
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
  readonly identifiers: readonly number[];
}

export function workerKey(slot: number): Buffer {
  const key = Buffer.alloc(5, kind.worker);
  key.writeUInt32BE(slot, 1);
  return key;
}

export function overKey(session: SessionId): Buffer {
  return keyOf(kind.over, session);
}

/** All sessions that are over. */
export const overRange: KeyRange = {
  start: Buffer.of(kind.over),
  end: Buffer.of(kind.over + 1),
};

export function sessionOfOverKey(key: Buffer): SessionId {
  return key.toString('hex', 1);
}

export function lifeKey(session: SessionId): Buffer {
  return keyOf(kind.session, session);
}

/** Everything of a session. */
export function lifeRange(session: SessionId): KeyRange {
  const start = lifeKey(session);
  return { start, end: Buffer.concat([start, Buffer.of(0xff)]) };
}

export function inFlightKey(session: SessionId): Buffer {
  return partKey(session, part.inFlight);
}

export function receivedKey(session: SessionId, packetId: number): Buffer {
  const key = Buffer.concat([lifeKey(session), Buffer.of(part.received, 0, 0)]);
  key.writeUInt16BE(packetId, partBytes);
  return key;
}

export function receivedRange(session: SessionId): KeyRange {
  return { start: partKey(session, part.received), end: partKey(session, part.received + 1) };
}

export function packetIdOf(key: Buffer): number {
  return key.readUInt16BE(partBytes);
}

export function queuedKey(session: SessionId, id: QueuedId): Buffer {
  const key = Buffer.allocUnsafe(partBytes + idBytes);
  key[0] = kind.session;
  writeId(key, session, 1);
  key[lifeBytes] = part.queued;
  writeId(key, id, partBytes);
  return key;
}

/** The queue, from what comes after `after` on. */
export function queueRange(session: SessionId, after?: QueuedId): KeyRange {
  const start =
    after === undefined
      ? partKey(session, part.queued)
      : Buffer.concat([queuedKey(session, after), Buffer.of(0)]);
  return { start, end: partKey(session, part.queued + 1) };
}

export function queuedIdOf(key: Buffer): QueuedId {
  return key.toString('hex', partBytes);
}

export function encodeEntry(head: EntryHead, sealed: Buffer): Buffer {
  const { qos, retain, expiresAt, identifiers } = head;
  const expires = expiresAt === undefined ? 0 : flag.expires;
  const fixed = 4 + (expires === 0 ? 0 : 8) + identifiers.length * 4;
  const entry = Buffer.allocUnsafe(fixed + sealed.length);
  let at = entry.writeUInt8(entryVersion, 0);
  at = entry.writeUInt8((qos === 2 ? flag.qos2 : 0) | (retain ? flag.retain : 0) | expires, at);
  if (expiresAt !== undefined) at = entry.writeDoubleBE(expiresAt, at);
  at = entry.writeUInt16BE(identifiers.length, at);
  for (const identifier of identifiers) at = entry.writeUInt32BE(identifier, at);
  sealed.copy(entry, at);
  return entry;
}

/** @throws SallyportError `io` for an entry that a newer version wrote, or that is damaged. */
export function decodeEntry(entry: Buffer): { readonly head: EntryHead; readonly sealed: Buffer } {
  const flags = entry.length < 4 ? 0xff : entry.readUInt8(1);
  if ((flags & ~flag.known) !== 0 || entry.readUInt8(0) !== entryVersion) throw damaged();
  const expires = (flags & flag.expires) !== 0;
  const countAt = expires ? 10 : 2;
  if (countAt + 2 > entry.length) throw damaged();
  const count = entry.readUInt16BE(countAt);
  const sealedAt = countAt + 2 + count * 4;
  if (sealedAt > entry.length) throw damaged();
  const head: EntryHead = {
    qos: (flags & flag.qos2) === 0 ? 1 : 2,
    retain: (flags & flag.retain) !== 0,
    expiresAt: expires ? entry.readDoubleBE(2) : undefined,
    identifiers:
      count === 0
        ? noIdentifiers
        : Array.from({ length: count }, (_, i) => entry.readUInt32BE(countAt + 2 + i * 4)),
  };
  return { head, sealed: entry.subarray(sealedAt) };
}

export function encodeInFlight(inFlight: readonly InFlight[]): Buffer {
  const value = Buffer.allocUnsafe(inFlight.length * inFlightBytes);
  let at = 0;
  for (const { packetId, id, qos, released } of inFlight) {
    at = value.writeUInt16BE(packetId, at);
    at = value.writeUInt8(
      (qos === 2 ? inFlightFlag.qos2 : 0) | (released ? inFlightFlag.released : 0),
      at,
    );
    at = writeId(value, id, at);
  }
  return value;
}

/** @throws SallyportError `io` */
export function decodeInFlight(value: Buffer): readonly InFlight[] {
  if (value.length % inFlightBytes !== 0) throw damaged();
  const inFlight: InFlight[] = [];
  for (let at = 0; at < value.length; at += inFlightBytes) {
    const flags = value.readUInt8(at + 2);
    inFlight.push({
      packetId: value.readUInt16BE(at),
      id: value.toString('hex', at + 3, at + inFlightBytes),
      qos: (flags & inFlightFlag.qos2) === 0 ? 1 : 2,
      released: (flags & inFlightFlag.released) !== 0,
    });
  }
  return inFlight;
}

function keyOf(first: number, session: SessionId): Buffer {
  const key = Buffer.allocUnsafe(lifeBytes);
  key[0] = first;
  writeId(key, session, 1);
  return key;
}

function partKey(session: SessionId, which: number): Buffer {
  return Buffer.concat([lifeKey(session), Buffer.of(which)]);
}

/** @returns where it ends. @throws SallyportError `usage` for what is no id: nothing else may become part of a key. */
function writeId(bytes: Buffer, id: string, at: number): number {
  if (id.length !== idBytes * 2 || bytes.write(id, at, idBytes, 'hex') !== idBytes) {
    throw new SallyportError('usage', 'ids of sessions and messages have 24 hex digits');
  }
  return at + idBytes;
}

function damaged(): SallyportError {
  return new SallyportError('io', 'a stored queue is damaged, or of an unknown version');
}
