/**
 * Frames between processes: a fixed header, then a body of JSON.
 *
 *   u32 length of what follows | u8 version | u8 kind | u16 channel | u32 epoch | u32 seq | body
 *
 * `channel` is stamped by the supervisor, which relays between control and the workers: the worker slot a frame comes
 * from or goes to, `broadcast` for all, `supervisor` for the supervisor itself. `epoch` names one life of the control
 * process and `seq` counts its snapshots and deltas; a gap means that the receiver asks for a fresh snapshot. `kind`
 * lets the supervisor keep the last snapshot and what followed it for workers that start later, without reading
 * bodies. Bodies are JSON and not a structured clone: what a worker sends is untrusted by control.
 */
import { SallyportError } from '../base/errors.ts';

const frameVersion = 1;
const headerBytes = 16;
const lengthBytes = 4;

export const channels = Object.freeze({ supervisor: 0xffff, broadcast: 0xfffe, control: 0xfffd });
/** Worker slots are 0 … maxSlot. */
export const maxSlot = 1023;

/** What the supervisor has to know of a body it does not read. */
export const frameKinds = Object.freeze({ plain: 0, snapshot: 1, delta: 2, current: 3 });

export interface FrameHeader {
  readonly channel: number;
  readonly kind: number;
  readonly epoch: number;
  readonly seq: number;
}

export interface Frame extends FrameHeader {
  readonly body: Buffer;
}

export function encodeFrame(header: FrameHeader, body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + body.length);
  writeHeader(frame, header, body.length);
  body.copy(frame, headerBytes);
  return frame;
}

/** What comes before a body of so many bytes. */
export function encodeHeader(header: FrameHeader, bodyBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes);
  writeHeader(bytes, header, bodyBytes);
  return bytes;
}

function writeHeader(to: Buffer, header: FrameHeader, bodyBytes: number): void {
  to.writeUInt32BE(headerBytes - lengthBytes + bodyBytes, 0);
  to.writeUInt8(frameVersion, 4);
  to.writeUInt8(header.kind, 5);
  to.writeUInt16BE(header.channel, 6);
  to.writeUInt32BE(header.epoch, 8);
  to.writeUInt32BE(header.seq, 12);
}

/** Cuts a byte stream into frames. A frame over `maxFrameBytes` or of another version throws before it is buffered. */
export class FrameReader {
  readonly #maxFrameBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** @throws SallyportError `invalid-frame`; the stream is unusable afterwards. */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#bytes < lengthBytes) return frames;
      const length = this.#peekLength();
      if (length < headerBytes - lengthBytes || length > this.#maxFrameBytes) {
        throw new SallyportError('invalid-frame', `frame of ${length} bytes`);
      }
      const total = lengthBytes + length;
      if (this.#bytes < total) return frames;
      frames.push(decodeFrame(this.#take(total)));
    }
  }

  #peekLength(): number {
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= lengthBytes) return first.readUInt32BE(0);
    this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]?.readUInt32BE(0) ?? 0;
  }

  #take(total: number): Buffer {
    const first = this.#chunks[0];
    const joined =
      first !== undefined && first.length >= total
        ? first
        : Buffer.concat(this.#chunks, this.#bytes);
    if (joined !== first) this.#chunks = [joined];
    const rest = joined.subarray(total);
    if (rest.length > 0) this.#chunks[0] = rest;
    else this.#chunks.shift();
    this.#bytes -= total;
    return joined.subarray(0, total);
  }
}

function decodeFrame(bytes: Buffer): Frame {
  const version = bytes.readUInt8(4);
  if (version !== frameVersion) {
    throw new SallyportError(
      'invalid-frame',
      `frame version ${version}, this process speaks ${frameVersion}`,
    );
  }
  return {
    kind: bytes.readUInt8(5),
    channel: bytes.readUInt16BE(6),
    epoch: bytes.readUInt32BE(8),
    seq: bytes.readUInt32BE(12),
    body: bytes.subarray(headerBytes),
  };
}
