/**
 * Frames of RFC 6455 §5 as a server reads and writes them. What is refused is refused from the header. Payload goes on
 * as it comes, in the memory in which it came, so a frame of any length costs nothing to hold: what is kept is an
 * unfinished header or an unfinished control frame.
 */
import type { DenyCode } from '../../../common/base/errors.ts';

export const opcodes = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const;

/** §7.4.1. */
export const closeCodes = {
  normal: 1000,
  protocolError: 1002,
  unsupportedData: 1003,
  invalidPayload: 1007,
  policyViolation: 1008,
} as const;

/** Why nothing more is read of a connection: what its peer is told, and what the log says. */
export interface FrameViolation {
  readonly closeCode: number;
  readonly code: DenyCode;
  readonly detail: string;
}

/** Whether to read on: yes, no, or no because of a violation. */
export type Onward = 'on' | 'enough' | FrameViolation;

export interface FrameSink {
  /** Payload of data frames, one or more, in order. Owned by the sink. */
  payload(bytes: Buffer): void;
  /** Borrowed. Of what came before a close `payload` was called with everything. */
  control(opcode: number, payload: Buffer): Onward;
  /** A data frame without payload. */
  empty(): Onward;
}

const finBit = 0x80;
const reservedBits = 0x70;
const opcodeBits = 0x0f;
const controlBit = 0x08;
const maskBit = 0x80;
const lengthBits = 0x7f;
const in16Bits = 126;
const in64Bits = 127;
const maskBytes = 4;
/** §5.5: a control frame has a payload of 125 bytes at most, and its length in its second byte. */
const maxControlPayload = 125;
const maxControlBytes = 2 + maskBytes + maxControlPayload;
/** Below it a typed array of words costs more than it saves (bench/websocket.ts). */
const minWordsBytes = 48;

function protocolError(detail: string): FrameViolation {
  return { closeCode: closeCodes.protocolError, code: 'malformed', detail };
}

const reserved = protocolError('a reserved bit is set');
const unknownOpcode = protocolError('a reserved opcode');
const notMasked = protocolError('a frame without a mask');
const nothingToContinue = protocolError('a continuation of nothing');
const notFinished = protocolError('a new message inside another');
const fragmentedControl = protocolError('a fragmented control frame');
const longControl = protocolError('a control frame of more than 125 bytes');
const wrongLength = protocolError('a length that is not in its shortest form, or is none');
const notBinary: FrameViolation = {
  closeCode: closeCodes.unsupportedData,
  code: 'malformed',
  detail: 'a text frame [MQTT-6.0.0-1]',
};

/** One per connection. After a violation, or a sink that has enough, it MUST NOT be used. */
export class FrameReader {
  /** Payload of the data frame that is being read: bytes still to come, and the mask of the next four of them. */
  #left = 0;
  #mask = 0;
  /** A message is open: only continuations may follow. */
  #isOpen = false;
  /** A header, or a control frame, whose end has not come. There only while there is one. */
  #partial: Buffer | undefined;
  #partialBytes = 0;
  /** Where in the chunk the payload lies that was not handed on yet. */
  #from = 0;
  #to = 0;

  /**
   * Reads all of `chunk`, which it owns: payload is unmasked there, and what several frames carry is moved together,
   * so that a chunk is one call of `payload` however finely it is framed.
   */
  push(chunk: Buffer, sink: FrameSink): FrameViolation | undefined {
    this.#from = 0;
    this.#to = 0;
    const violation = this.#read(chunk, sink);
    // What came before a violation came in good order.
    this.#handOn(chunk, sink);
    return violation;
  }

  #read(chunk: Buffer, sink: FrameSink): FrameViolation | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        at = this.#payload(chunk, at);
        continue;
      }
      const bytes = this.#partial ?? chunk;
      const start = bytes === chunk ? at : 0;
      if (bytes !== chunk) {
        bytes[this.#partialBytes] = chunk[at] ?? 0;
        this.#partialBytes += 1;
        at += 1;
      }
      const end = bytes === chunk ? chunk.length : this.#partialBytes;
      const size = this.#sizeOf(bytes, start, end);
      if (typeof size !== 'number') return size;
      if (size > end - start) {
        if (bytes !== chunk) continue;
        this.#keep(chunk, at);
        return undefined;
      }
      this.#partial = undefined;
      if (bytes === chunk) at += size;
      const next = this.#begin(bytes, start, size, chunk, sink);
      if (next === 'enough') return undefined;
      if (next !== 'on') return next;
    }
    return undefined;
  }

  /** Bytes of the header, and of a control frame's payload with it, as far as that is known; 2 when it is not. */
  #sizeOf(bytes: Buffer, at: number, end: number): number | FrameViolation {
    const first = bytes[at] ?? 0;
    if ((first & reservedBits) !== 0) return reserved;
    const opcode = first & opcodeBits;
    const isControl = (opcode & controlBit) !== 0;
    if (opcode === opcodes.text) return notBinary;
    if (isControl ? opcode > opcodes.pong : opcode > opcodes.binary) return unknownOpcode;
    if (isControl && (first & finBit) === 0) return fragmentedControl;
    if (opcode === opcodes.continuation && !this.#isOpen) return nothingToContinue;
    if (opcode === opcodes.binary && this.#isOpen) return notFinished;
    if (end - at < 2) return 2;
    const second = bytes[at + 1] ?? 0;
    // §5.1: what a page writes must not look like another protocol to whatever stands in between.
    if ((second & maskBit) === 0) return notMasked;
    const length = second & lengthBits;
    if (isControl) return length > maxControlPayload ? longControl : 2 + maskBytes + length;
    if (length === in16Bits) return 4 + maskBytes;
    return (length === in64Bits ? 10 : 2) + maskBytes;
  }

  #keep(chunk: Buffer, at: number): void {
    this.#partial = Buffer.allocUnsafeSlow(maxControlBytes);
    this.#partialBytes = chunk.copy(this.#partial, 0, at);
  }

  /** A header that is complete, or a control frame. */
  #begin(bytes: Buffer, at: number, size: number, chunk: Buffer, sink: FrameSink): Onward {
    const first = bytes[at] ?? 0;
    const opcode = first & opcodeBits;
    const second = (bytes[at + 1] ?? 0) & lengthBits;
    if ((opcode & controlBit) !== 0) {
      const payload = bytes.subarray(at + 2 + maskBytes, at + size);
      unmask(payload, 0, payload.length, bytes.readInt32LE(at + 2), 0);
      if (opcode === opcodes.close) this.#handOn(chunk, sink);
      return sink.control(opcode, payload);
    }
    const length = lengthOf(bytes, at, second);
    if (length === undefined) return wrongLength;
    this.#isOpen = (first & finBit) === 0;
    this.#left = length;
    this.#mask = bytes.readInt32LE(at + size - maskBytes);
    return length > 0 ? 'on' : sink.empty();
  }

  #payload(chunk: Buffer, at: number): number {
    const length = Math.min(this.#left, chunk.length - at);
    if (this.#to === this.#from) {
      this.#from = at;
      this.#to = at;
    }
    this.#mask = unmask(chunk, at, length, this.#mask, this.#to);
    this.#to += length;
    this.#left -= length;
    return at + length;
  }

  #handOn(chunk: Buffer, sink: FrameSink): void {
    const from = this.#from;
    const to = this.#to;
    this.#from = this.#to;
    if (to > from) sink.payload(chunk.subarray(from, to));
  }
}

/** §5.2; undefined when it is longer than it need be, or than a number can say. */
function lengthOf(bytes: Buffer, at: number, second: number): number | undefined {
  if (second < in16Bits) return second;
  if (second === in16Bits) {
    const length = bytes.readUInt16BE(at + 2);
    return length < in16Bits ? undefined : length;
  }
  const high = bytes.readUInt32BE(at + 2);
  const length = high * 2 ** 32 + bytes.readUInt32BE(at + 6);
  return length < 2 ** 16 || high >= 2 ** 21 ? undefined : length;
}

/**
 * §5.3. Moves `length` bytes from `at` to `to`, which is not behind it, and takes the mask off; whole words at a time
 * where that is possible, which is ten times as fast for what fills a TLS record (bench/websocket.ts).
 *
 * @param mask its four bytes, the first of them in the lowest.
 * @returns the mask of what follows.
 */
function unmask(bytes: Buffer, at: number, length: number, mask: number, to: number): number {
  let key = mask;
  let from = at;
  let target = to;
  const end = at + length;
  if (length >= minWordsBytes && ((at - to) & 3) === 0) {
    while (((bytes.byteOffset + from) & 3) !== 0) {
      bytes[target] = (bytes[from] ?? 0) ^ (key & 0xff);
      key = (key >>> 8) | (key << 24);
      from += 1;
      target += 1;
    }
    const words = (end - from) >>> 2;
    const source = new Int32Array(bytes.buffer, bytes.byteOffset + from, words);
    const moved =
      from === target ? source : new Int32Array(bytes.buffer, bytes.byteOffset + target, words);
    for (let i = 0; i < words; i += 1) moved[i] = (source[i] ?? 0) ^ key;
    from += words * 4;
    target += words * 4;
  }
  for (; from < end; from += 1) {
    bytes[target] = (bytes[from] ?? 0) ^ (key & 0xff);
    key = (key >>> 8) | (key << 24);
    target += 1;
  }
  return key;
}

/** The header of a server's frame: whole, and without a mask (§5.1). */
function putHeader(target: Buffer, opcode: number, length: number): void {
  target[0] = finBit | opcode;
  if (length < in16Bits) {
    target[1] = length;
  } else if (length < 2 ** 16) {
    target[1] = in16Bits;
    target.writeUInt16BE(length, 2);
  } else {
    target[1] = in64Bits;
    target.writeUInt32BE(Math.floor(length / 2 ** 32), 2);
    target.writeUInt32BE(length % 2 ** 32, 6);
  }
}

function headerBytes(length: number): number {
  if (length < in16Bits) return 2;
  return length < 2 ** 16 ? 4 : 10;
}

export function frameHeader(opcode: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(headerBytes(length));
  putHeader(header, opcode, length);
  return header;
}

export function frameOf(opcode: number, payload: Buffer): Buffer {
  const at = headerBytes(payload.length);
  const frame = Buffer.allocUnsafe(at + payload.length);
  putHeader(frame, opcode, payload.length);
  frame.set(payload, at);
  return frame;
}

/** §5.5.1. */
export function closeFrame(closeCode: number): Buffer {
  const payload = Buffer.allocUnsafe(2);
  payload.writeUInt16BE(closeCode);
  return frameOf(opcodes.close, payload);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The code with which a peer's close is answered; 1005, of which nothing is written, when it gave none (§7.1.5). */
export const noCode = 1005;

/** @param payload of a close frame. @returns its code, or why it is none. */
export function readClose(payload: Buffer): number | FrameViolation {
  if (payload.length === 0) return noCode;
  if (payload.length === 1) return protocolError('a close code of one byte');
  const code = payload.readUInt16BE(0);
  if (!mayBeSent(code)) return protocolError(`the close code ${code}`);
  try {
    utf8.decode(payload.subarray(2));
  } catch {
    const detail = 'a reason that is not UTF-8';
    return { closeCode: closeCodes.invalidPayload, code: 'malformed', detail };
  }
  return code;
}

/** §7.4.1, §7.4.2, and the codes that were registered since. */
function mayBeSent(code: number): boolean {
  if (code >= 3_000) return code < 5_000;
  return code >= 1_000 && code <= 1_014 && code !== 1_004 && code !== 1_005 && code !== 1_006;
}
