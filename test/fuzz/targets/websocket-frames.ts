/**
 * WebSocket frames as the gateway reads them, against a reader written anew from RFC 6455 §5.2: the same payload, the
 * same control frames, the same verdict, in whatever pieces the bytes come. The first byte of an input says how it is
 * cut.
 */
import assert from 'node:assert/strict';
import {
  FrameReader,
  opcodes,
  readClose,
} from '../../../src/worker/listeners/https/websocket-frames.ts';
import { clientFrame, opcode } from '../../harness/websocket-bytes.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { Random } from '../../harness/random.ts';

interface Read {
  readonly data: Buffer;
  /** Opcode and payload. */
  readonly controls: readonly string[];
  readonly refused: boolean;
}

function readInPieces(input: Buffer, pieceOf: () => number): Read {
  const reader = new FrameReader();
  const data: Buffer[] = [];
  const controls: string[] = [];
  let isOver = false;
  let refused = false;
  for (let at = 0; at < input.length && !isOver;) {
    const chunk = Buffer.from(input.subarray(at, at + pieceOf()));
    at += chunk.length;
    const violation = reader.push(chunk, {
      payload: (bytes) => void data.push(bytes),
      control: (code, payload) => {
        controls.push(`${code} ${payload.toString('hex')}`);
        if (code !== opcodes.close) return 'on';
        isOver = true;
        const close = readClose(payload);
        assert.ok(typeof close !== 'number' || (close >= 1000 && close < 5000));
        return 'enough';
      },
      empty: () => 'on',
    });
    if (violation !== undefined) {
      assert.ok([1002, 1003].includes(violation.closeCode), violation.detail);
      refused = true;
      isOver = true;
    }
  }
  return { data: Buffer.concat(data), controls, refused };
}

/** §5.2, with the whole input at hand. */
function readWhole(input: Buffer): Read {
  const data: Buffer[] = [];
  const controls: string[] = [];
  const end = (refused: boolean): Read => ({ data: Buffer.concat(data), controls, refused });
  let open = false;
  for (let at = 0; at < input.length;) {
    const first = input.readUInt8(at);
    const code = first & 0x0f;
    const fin = first >= 0x80;
    const isControl = code >= 8;
    if ((first & 0x70) !== 0 || ![0, 2, 8, 9, 10].includes(code)) return end(true);
    if (isControl ? !fin : (code === 0) !== open) return end(true);
    const second = input[at + 1];
    if (second === undefined) return end(false);
    if (second < 0x80) return end(true);
    let length = second & 0x7f;
    if (isControl && length > 125) return end(true);
    const long =
      new Map([
        [126, 2],
        [127, 8],
      ]).get(length) ?? 0;
    const mask = at + 2 + long;
    if (mask + 4 > input.length) return end(false);
    if (long > 0) {
      const written = BigInt(`0x${input.toString('hex', at + 2, mask)}`);
      if (written < (long === 2 ? 126n : 65_536n) || written >= 1n << 53n) return end(true);
      length = Number(written);
    }
    const payload = input.subarray(mask + 4, mask + 4 + length);
    const clear = Buffer.from(payload.map((byte, i) => byte ^ (input[mask + (i % 4)] ?? 0)));
    if (isControl && payload.length < length) return end(false);
    if (isControl) controls.push(`${code} ${clear.toString('hex')}`);
    else {
      open = !fin;
      data.push(clear);
    }
    if (code === opcode.close) return end(false);
    at = mask + 4 + length;
  }
  return end(false);
}

function check(input: Buffer): void {
  const [cut = 0] = input;
  const bytes = input.subarray(1);
  const expected = readWhole(bytes);
  const random = new Random(cut);
  for (const pieceOf of [() => bytes.length, () => 1, () => 1 + random.below(70)]) {
    assert.deepEqual(readInPieces(bytes, pieceOf), expected);
  }
}

const mask = Buffer.of(0x12, 0x34, 0x56, 0x78);
const frames = [
  clientFrame({ opcode: opcode.binary, payload: 'hello', mask }),
  clientFrame({ opcode: opcode.binary, payload: 'x'.repeat(126), mask }),
  clientFrame({ opcode: opcode.binary, payload: 'y'.repeat(300), fin: false, mask }),
  clientFrame({ opcode: opcode.continuation, payload: 'z'.repeat(70), mask }),
  clientFrame({ opcode: opcode.binary, payload: '', mask }),
  clientFrame({ opcode: opcode.ping, payload: 'ping', mask }),
  clientFrame({ opcode: opcode.pong, mask }),
  clientFrame({ opcode: opcode.close, payload: Buffer.of(0x03, 0xe8, 0x62), mask }),
  clientFrame({ opcode: opcode.binary, lengthBits: 64, length: 1n << 40n, mask }),
  clientFrame({ opcode: opcode.text, payload: 'a', mask }),
];

export const websocketFrames: FuzzTarget = {
  seeds: [
    ...frames.map((frame) => Buffer.concat([Buffer.of(5), frame])),
    Buffer.concat([Buffer.of(7), ...frames]),
  ],
  words: [Buffer.of(0x82, 0x80), Buffer.of(0x89, 0x84), Buffer.of(0xfe, 0, 126)],
  maxBytes: 1_500,
  check,
};
