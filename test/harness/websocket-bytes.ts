/**
 * Frames of RFC 6455 §5 written and read by hand: any frame a client could send, and a server's by the letter, no more
 * leniently.
 */
import { randomBytes } from 'node:crypto';

export const opcode = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

export interface ClientFrame {
  readonly opcode: number;
  readonly payload?: string | Buffer;
  readonly fin?: boolean;
  /** RSV1 to RSV3, the first of them 4. */
  readonly reserved?: number;
  /** Random unless it is given; `null` = not masked. */
  readonly mask?: Buffer | null;
  /** In which form the length is written; the shortest unless it is given. */
  readonly lengthBits?: 7 | 16 | 64;
  /** What the header claims, if it is not the payload's own length. */
  readonly length?: bigint;
}

export function clientFrame(frame: ClientFrame): Buffer {
  const { fin = true, reserved = 0, mask = randomBytes(4) } = frame;
  const { payload = '' } = frame;
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const length = frame.length ?? BigInt(bytes.length);
  const bits = frame.lengthBits ?? shortestBits(length);
  const first = (fin ? 0x80 : 0) | (reserved << 4) | frame.opcode;
  const header = [first, (mask === null ? 0 : 0x80) | lengthByte(bits, length)];
  if (bits > 7) {
    for (let shift = bits - 8; shift >= 0; shift -= 8) {
      header.push(Number((length >> BigInt(shift)) & 0xffn));
    }
  }
  if (mask === null) return Buffer.concat([Buffer.from(header), bytes]);
  return Buffer.concat([
    Buffer.from(header),
    mask,
    Buffer.from(bytes.map((byte, at) => byte ^ (mask[at % 4] ?? 0))),
  ]);
}

function shortestBits(length: bigint): 7 | 16 | 64 {
  if (length < 126n) return 7;
  return length < 65_536n ? 16 : 64;
}

function lengthByte(bits: 7 | 16 | 64, length: bigint): number {
  if (bits === 7) return Number(length);
  return bits === 16 ? 126 : 127;
}

export function closePayload(code: number, reason: string | Buffer = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
}

export interface ServerFrame {
  readonly opcode: number;
  readonly payload: Buffer;
  /** Of the whole frame. */
  readonly bytes: number;
}

const known: ReadonlySet<number> = new Set([2, 8, 9, 10]);

/** A server that speaks MQTT sends whole, unmasked, binary messages without an extension. */
export class ServerFrameReader {
  #bytes: Buffer = Buffer.alloc(0);

  /** @throws Error for a frame that a server must not send. */
  push(chunk: Buffer): readonly ServerFrame[] {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const frames: ServerFrame[] = [];
    for (let frame = this.#take(); frame !== undefined; frame = this.#take()) frames.push(frame);
    return frames;
  }

  #take(): ServerFrame | undefined {
    const bytes = this.#bytes;
    const [first, second] = bytes;
    if (first === undefined || second === undefined) return undefined;
    const code = first & 0x0f;
    if ((first & 0xf0) !== 0x80 || !known.has(code)) throw new Error(`frame ${first.toString(16)}`);
    if (second >= 0x80) throw new Error('a masked frame');
    if (code >= 8 && second > 125) throw new Error('a control frame that is too long');
    const header =
      new Map([
        [126, 4],
        [127, 10],
      ]).get(second) ?? 2;
    if (bytes.length < header) return undefined;
    const length = lengthIn(bytes, header, second);
    if (bytes.length < header + length) return undefined;
    this.#bytes = bytes.subarray(header + length);
    const payload = bytes.subarray(header, header + length);
    return { opcode: code, payload, bytes: header + length };
  }
}

function lengthIn(bytes: Buffer, header: number, second: number): number {
  if (header === 2) return second;
  const length = header === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (length < (header === 4 ? 126 : 65_536)) throw new Error('a length that is not the shortest');
  return length;
}
