import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../base/property-test-support.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import type { Frame } from './frames.ts';

const header = { channel: 7, kind: 2, epoch: 3, seq: 9 };

function readAll(reader: FrameReader, bytes: Buffer, cuts: readonly number[]): Frame[] {
  const frames: Frame[] = [];
  let from = 0;
  for (const cut of [
    ...cuts.filter((at) => at < bytes.length).toSorted((a, b) => a - b),
    bytes.length,
  ]) {
    frames.push(...reader.push(bytes.subarray(from, cut)));
    from = cut;
  }
  return frames;
}

test('a frame is 16 bytes of header and its body, in network byte order', () => {
  const bytes = encodeFrame(header, Buffer.from('{}'));
  assert.equal(bytes.toString('hex'), '0000000e010200070000000300000009' + '7b7d');
});

test('frames come out whole and in order, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.nat(1_600)),
      (bodies, cuts) => {
        const stream = Buffer.concat(
          bodies.map((body, seq) => encodeFrame({ ...header, seq }, Buffer.from(body))),
        );
        const frames = readAll(new FrameReader(1_000), stream, cuts);
        assert.deepEqual(
          frames.map(({ seq, body }) => [seq, body.toString('hex')]),
          bodies.map((body, seq) => [seq, Buffer.from(body).toString('hex')]),
        );
      },
    ),
  );
});

test('a frame over the limit is refused from its header, before its body is there', () => {
  const bytes = encodeFrame(header, Buffer.alloc(2_000));
  assert.throws(() => new FrameReader(1_000).push(bytes.subarray(0, 4)), { code: 'invalid-frame' });
});

test('a frame shorter than its header is refused', () => {
  assert.throws(() => new FrameReader(1_000).push(Buffer.from([0, 0, 0, 11])), {
    code: 'invalid-frame',
  });
});

test('a frame of another version is refused', () => {
  const bytes = encodeFrame(header, Buffer.alloc(1));
  bytes[4] = 2;
  assert.throws(() => new FrameReader(1_000).push(bytes), { code: 'invalid-frame' });
});
