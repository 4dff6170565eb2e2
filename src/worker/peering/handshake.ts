/**
 * How two workers prove to each other that they hold the group's key, and who they are: each sends a nonce, then an
 * HMAC-SHA-256 over both nonces, both names and its own side of the connection. With the sides in it a proof cannot be
 * sent back to who made it.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const protocolVersion = 1;
const nonceBytes = 32;

export type Side = 'connecting' | 'accepting';

export interface Name {
  readonly slot: number;
  readonly generation: number;
}

export interface Hello extends Name {
  readonly type: 'hello';
  readonly version: number;
  /** base64 */
  readonly nonce: string;
}

export function makeHello({ slot, generation }: Name): Hello {
  const nonce = randomBytes(nonceBytes).toString('base64');
  return { type: 'hello', version: protocolVersion, slot, generation, nonce };
}

/** The other's hello, or undefined when it is none or of another version. */
export function parseHello(body: object): Hello | undefined {
  const { type, version, slot, generation, nonce }: Partial<Record<string, unknown>> = { ...body };
  if (type !== 'hello' || version !== protocolVersion || typeof nonce !== 'string')
    return undefined;
  if (!isIndex(slot) || !isIndex(generation)) return undefined;
  if (Buffer.from(nonce, 'base64').length !== nonceBytes) return undefined;
  return { type, version, slot, generation, nonce };
}

/** What the end on `side` that said `own` sends to the one that said `other`. */
export function proofOf(key: Buffer, side: Side, own: Hello, other: Hello): Buffer {
  const said = [side, ...fieldsOf(own), ...fieldsOf(other)];
  return createHmac('sha256', key).update(JSON.stringify(said)).digest();
}

/** Whether `body` is the proof of the end on the other side. */
export function proves(
  body: object,
  key: Buffer,
  ownSide: Side,
  own: Hello,
  other: Hello,
): boolean {
  if (!('type' in body) || body.type !== 'proof') return false;
  if (!('mac' in body) || typeof body.mac !== 'string') return false;
  const otherSide = ownSide === 'connecting' ? 'accepting' : 'connecting';
  const expected = proofOf(key, otherSide, other, own);
  const given = Buffer.from(body.mac, 'base64');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function fieldsOf({ version, slot, generation, nonce }: Hello): readonly unknown[] {
  return [version, slot, generation, nonce];
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
