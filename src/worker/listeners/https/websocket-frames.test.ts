import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import {
  clientFrame,
  closePayload,
  opcode,
  ServerFrameReader,
} from '../../../../test/harness/websocket-bytes.ts';
import type { ClientFrame } from '../../../../test/harness/websocket-bytes.ts';
import { closeFrame, frameHeader, frameOf, FrameReader, readClose } from './websocket-frames.ts';
import type { FrameSink, FrameViolation, Onward } from './websocket-frames.ts';

/** What came, in order but for payload, which may be split anywhere. */
class Received implements FrameSink {
  readonly payloads: Buffer[] = [];
  readonly controls: (readonly [number, string])[] = [];
  empties = 0;
  /** Bytes of payload that had come before the last control frame. */
  before = 0;
  onward: Onward = 'on';

  payload(bytes: Buffer): void {
    this.payloads.push(bytes);
  }

  control(code: number, payload: Buffer): Onward {
    this.before = this.bytes.length;
    this.controls.push([code, payload.toString('latin1')]);
    return this.onward;
  }

  empty(): Onward {
    this.empties += 1;
    return this.onward;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.payloads);
  }
}

function read(chunks: Iterable<Buffer>): [Received, FrameViolation | undefined] {
  const reader = new FrameReader();
  const received = new Received();
  for (const chunk of chunks) {
    const violation = reader.push(Buffer.from(chunk), received);
    if (violation !== undefined) return [received, violation];
  }
  return [received, undefined];
}

function* singly(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 1) yield bytes.subarray(at, at + 1);
}

/** Cut at the places given as parts of its length. */
function cut(bytes: Buffer, parts: readonly number[]): Buffer[] {
  const at = parts.map((part) => Math.floor(part * bytes.length)).sort((a, b) => a - b);
  return [0, ...at].map((from, n) => bytes.subarray(from, [...at, bytes.length][n]));
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('the examples of RFC 6455 §5.7, binary where they are text', () => {
  const hello = '37 fa 21 3d 7f 9f 4d 51 58';

  test('a masked message in one frame', () => {
    for (const chunks of [[hex(`82 85 ${hello}`)], singly(hex(`82 85 ${hello}`))]) {
      const [received, violation] = read(chunks);
      assert.equal(violation, undefined);
      assert.equal(received.bytes.toString(), 'Hello');
    }
  });

  test('a message in two frames, with a ping between them', () => {
    const [received] = read([hex(`02 85 ${hello} 89 85 ${hello} 80 85 ${hello}`)]);
    assert.equal(received.bytes.toString(), 'HelloHello');
    assert.deepEqual(received.controls, [[opcode.ping, 'Hello']]);
  });

  test('the longest ping, byte by byte', () => {
    const payload = 'p'.repeat(125);
    const [received] = read(singly(clientFrame({ opcode: opcode.ping, payload })));
    assert.deepEqual(received.controls, [[opcode.ping, payload]]);
  });

  test('what a server sends', () => {
    assert.deepEqual(frameOf(opcode.ping, Buffer.from('Hello')), hex('89 05 48 65 6c 6c 6f'));
    assert.deepEqual(frameHeader(opcode.binary, 256), hex('82 7e 01 00'));
    assert.deepEqual(frameHeader(opcode.binary, 65_536), hex('82 7f 00 00 00 00 00 01 00 00'));
  });
});

interface Piece {
  readonly frames: readonly ClientFrame[];
  readonly payload: Buffer;
  readonly controls: readonly (readonly [number, string])[];
}

const payload = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.uint8Array({ minLength: 120, maxLength: 130 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 9 }), fc.nat({ max: 70_000 }))
    .map(([unit, length]) => Buffer.alloc(length, unit)),
);

const control = fc.tuple(
  fc.constantFrom(opcode.ping, opcode.pong),
  fc.uint8Array({ maxLength: 125 }).map((bytes) => Buffer.from(bytes)),
);

/** A message in one frame or more, control frames before each of them. */
const message: fc.Arbitrary<Piece> = fc
  .array(fc.tuple(payload, fc.array(control, { maxLength: 2 }), fc.boolean()), {
    minLength: 1,
    maxLength: 4,
  })
  .map((fragments) => {
    const frames: ClientFrame[] = [];
    const controls: [number, string][] = [];
    for (const [n, [bytes, before, hasZeroMask]] of fragments.entries()) {
      for (const [code, content] of before) {
        frames.push({ opcode: code, payload: content });
        controls.push([code, content.toString('latin1')]);
      }
      frames.push({
        opcode: n === 0 ? opcode.binary : opcode.continuation,
        fin: n === fragments.length - 1,
        payload: Buffer.from(bytes),
        ...(hasZeroMask ? { mask: Buffer.alloc(4) } : {}),
      });
    }
    return { frames, payload: Buffer.concat(fragments.map(([bytes]) => bytes)), controls };
  });

test('any messages, framed in any way and read in any pieces, are the same bytes', () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 4 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }),
      fc.integer({ min: 0, max: 7 }),
      (messages, cuts, offset) => {
        const sent = Buffer.concat(messages.flatMap(({ frames }) => frames.map(clientFrame)));
        const reader = new FrameReader();
        const received = new Received();
        for (const chunk of cut(sent, cuts)) {
          // As a socket gives them: somewhere in a larger buffer.
          const buffer = Buffer.alloc(chunk.length + 8, 0xee);
          chunk.copy(buffer, offset);
          const calls = received.payloads.length;
          const here = buffer.subarray(offset, offset + chunk.length);
          assert.equal(reader.push(here, received), undefined);
          assert.ok(received.payloads.length <= calls + 1, 'more than one call for one chunk');
          assert.deepEqual(buffer.subarray(offset + chunk.length), Buffer.alloc(8 - offset, 0xee));
          assert.deepEqual(buffer.subarray(0, offset), Buffer.alloc(offset, 0xee));
        }
        assert.ok(received.bytes.equals(Buffer.concat(messages.map((each) => each.payload))));
        assert.deepEqual(
          received.controls,
          messages.flatMap((each) => each.controls),
        );
      },
    ),
    { numRuns: 150 },
  );
});

test('payload is handed on where it came, not copied', () => {
  const chunk = clientFrame({ opcode: opcode.binary, payload: 'x'.repeat(1_000) });
  const received = new Received();
  new FrameReader().push(chunk, received);
  const [given] = received.payloads;
  assert.deepEqual(
    [given?.buffer === chunk.buffer, given?.byteOffset],
    [true, chunk.byteOffset + 8],
  );
});

test('a frame goes on as it comes, whatever it claims to be', () => {
  const reader = new FrameReader();
  const received = new Received();
  const length = 2n ** 52n;
  const start = clientFrame({ opcode: opcode.binary, payload: 'abcd', length });
  assert.equal(reader.push(start, received), undefined);
  assert.equal(received.bytes.toString(), 'abcd');
});

interface Bad {
  readonly what: string;
  readonly bytes: Buffer;
  readonly closeCode: number;
  /** Bytes after which it is refused at the latest. */
  readonly judgedAfter: number;
}

const bad = (
  what: string,
  judgedAfter: number,
  frame: ClientFrame | Buffer,
  closeCode = 1002,
): Bad => ({
  what,
  bytes: Buffer.isBuffer(frame) ? frame : clientFrame(frame),
  closeCode,
  judgedAfter,
});

const { binary, continuation, ping, close, pong, text } = opcode;
const long = Buffer.alloc(126);

const refused: readonly Bad[] = [
  bad('a text frame', 1, { opcode: text, payload: 'hello' }, 1003),
  bad('a text frame without a mask', 1, { opcode: text, mask: null }, 1003),
  ...[1, 2, 4, 7].map((reserved) =>
    bad(`reserved bits ${reserved}`, 1, { opcode: binary, reserved, payload: 'x' }),
  ),
  bad('a ping with a reserved bit', 1, { opcode: ping, reserved: 4 }),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((code) =>
    bad(`opcode ${code}`, 1, { opcode: code, payload: 'x' }),
  ),
  ...[binary, ping, pong, close].map((code) =>
    bad(`opcode ${code} without a mask`, 2, { opcode: code, payload: 'x', mask: null }),
  ),
  bad('a continuation of nothing', 1, { opcode: continuation, payload: 'x' }),
  ...[ping, pong, close].map((code) =>
    bad(`opcode ${code} in fragments`, 1, { opcode: code, fin: false }),
  ),
  ...[ping, pong, close].map((code) =>
    bad(`opcode ${code} of 126 bytes`, 2, { opcode: code, payload: long }),
  ),
  bad('a control frame with a 64-bit length', 2, { opcode: ping, lengthBits: 64 }),
  bad('125 bytes in 16 bits', 8, { opcode: binary, lengthBits: 16, payload: long.subarray(1) }),
  bad('126 bytes in 64 bits', 14, { opcode: binary, lengthBits: 64, payload: long }),
  bad('65,535 bytes in 64 bits', 14, { opcode: binary, lengthBits: 64, length: 65_535n }),
  bad('2⁵³ bytes', 14, { opcode: binary, length: 2n ** 53n }),
  bad('a length with its highest bit set', 14, { opcode: binary, length: 2n ** 63n }),
  bad(
    'a new message inside another',
    8,
    Buffer.concat([
      clientFrame({ opcode: binary, fin: false, payload: 'x' }),
      clientFrame({ opcode: binary, payload: 'y' }),
    ]),
  ),
];

for (const { what, bytes, closeCode, judgedAfter } of refused) {
  test(`${closeCode}: ${what}`, () => {
    const [, atOnce] = read([bytes]);
    assert.equal(atOnce?.closeCode, closeCode);
    const [, byByte] = read(singly(bytes.subarray(0, judgedAfter)));
    assert.deepEqual(byByte, atOnce, 'judged byte by byte');
  });
}

test('what came before a violation is handed on', () => {
  const good = clientFrame({ opcode: binary, payload: 'good' });
  const [received, violation] = read([Buffer.concat([good, clientFrame({ opcode: text })])]);
  assert.equal(received.bytes.toString(), 'good');
  assert.equal(violation?.closeCode, 1003);
});

test('what came before a close is handed on before it, and nothing is read after it', () => {
  const received = new Received();
  received.onward = 'enough';
  const bytes = Buffer.concat([
    clientFrame({ opcode: binary, payload: 'before' }),
    clientFrame({ opcode: close, payload: closePayload(1000) }),
    clientFrame({ opcode: binary, payload: 'after' }),
    clientFrame({ opcode: text }),
  ]);
  assert.equal(new FrameReader().push(bytes, received), undefined);
  assert.equal(received.before, 6);
  assert.equal(received.bytes.toString(), 'before');
});

test('what came before a violation that its reader finds is handed on too', () => {
  const received = new Received();
  const violation = { closeCode: 1008, code: 'rate', detail: '' } as const;
  received.onward = violation;
  const good = clientFrame({ opcode: binary, payload: 'good' });
  const late = clientFrame({ opcode: binary, payload: 'late' });
  const bytes = Buffer.concat([good, clientFrame({ opcode: ping }), late]);
  assert.equal(new FrameReader().push(bytes, received), violation);
  assert.equal(received.bytes.toString(), 'good');
});

test('frames without payload are told of, and end when their reader has enough', () => {
  const received = new Received();
  const reader = new FrameReader();
  const empty = clientFrame({ opcode: binary });
  reader.push(Buffer.concat([empty, empty]), received);
  assert.equal(received.empties, 2);
  received.onward = 'enough';
  reader.push(Buffer.concat([empty, empty]), received);
  assert.equal(received.empties, 3);
});

describe('the code of a close', () => {
  for (const code of [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 4999]) {
    test(`${code} is answered`, () => {
      assert.equal(readClose(closePayload(code, 'because')), code);
    });
  }
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]) {
    test(`${code} is refused`, () => {
      assert.equal(violationOf(closePayload(code)).closeCode, 1002);
    });
  }
  test('none, half of one, and a reason that is no text', () => {
    assert.equal(readClose(Buffer.alloc(0)), 1005);
    assert.equal(violationOf(Buffer.from([3])).closeCode, 1002);
    assert.equal(violationOf(closePayload(1000, Buffer.from([0xc0, 0x80]))).closeCode, 1007);
  });
});

function violationOf(bytes: Buffer): FrameViolation {
  const code = readClose(bytes);
  assert.ok(typeof code !== 'number');
  return code;
}

test('what a server writes is read by the letter, at every length of a length', () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) {
    const content = Buffer.alloc(length, 'x');
    const [frame] = new ServerFrameReader().push(frameOf(opcode.binary, content));
    assert.deepEqual(frame?.payload, content);
    const apart = Buffer.concat([frameHeader(opcode.binary, length), content]);
    assert.deepEqual(apart, frameOf(opcode.binary, content));
  }
  const [end] = new ServerFrameReader().push(closeFrame(1003));
  assert.deepEqual(end?.payload, closePayload(1003));
});
