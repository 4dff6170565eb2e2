/** Frames between processes: what a worker that was taken over could send. */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { channels, encodeFrame, FrameReader } from '../../../src/common/ipc/frames.ts';
import type { Frame } from '../../../src/common/ipc/frames.ts';
import type { FuzzTarget } from '../fuzz.ts';

const maxFrameBytes = 200;

/** Frames up to the first that is refused. */
function read(input: Buffer, piece: number): { frames: Frame[]; refused: boolean } {
  const reader = new FrameReader(maxFrameBytes);
  const frames: Frame[] = [];
  for (let at = 0; at < input.length; at += piece) {
    try {
      frames.push(...reader.push(Buffer.from(input.subarray(at, at + piece))));
    } catch (error) {
      assert.ok(error instanceof SallyportError, String(error));
      assert.equal(error.code, 'invalid-frame');
      return { frames, refused: true };
    }
  }
  return { frames, refused: false };
}

function check(input: Buffer): void {
  // What stands before a refused frame in the same chunk goes with it: the stream is of no more use.
  const singly = read(input, 1);
  const [first = 0] = input;
  const pieces = read(input, 1 + (first % 40));
  assert.equal(pieces.refused, singly.refused);
  assert.deepEqual(pieces.frames, singly.frames.slice(0, pieces.frames.length));
  if (!singly.refused) assert.equal(pieces.frames.length, singly.frames.length);
  const again = Buffer.concat(singly.frames.map((frame) => encodeFrame(frame, frame.body)));
  assert.deepEqual(again, input.subarray(0, again.length));
}

const header = { channel: channels.control, kind: 1, epoch: 7, seq: 9 };

export const ipcFrames: FuzzTarget = {
  seeds: [
    encodeFrame(header, Buffer.from('{"a":1}')),
    Buffer.concat([encodeFrame(header, Buffer.alloc(0)), encodeFrame(header, Buffer.alloc(150))]),
  ],
  words: [Buffer.of(0, 0, 0, 12), Buffer.of(0, 0, 0, 200), Buffer.of(0xff, 0xff, 0xff, 0xff)],
  maxBytes: 700,
  check,
};
