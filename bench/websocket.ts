/**
 * Cost of WebSocket framing: nanoseconds of wall time to read and to write a frame, by the bytes in it, and to read what
 * a peer can make of a TLS record with the smallest of frames. Prints one JSON line per subject: the median and the
 * spread of the rounds. Beside what is done stands what it was chosen over.
 */
import { randomBytes } from 'node:crypto';
import {
  frameHeader,
  frameOf,
  FrameReader,
  opcodes,
} from '../src/worker/listeners/https/websocket-frames.ts';
import type { FrameSink } from '../src/worker/listeners/https/websocket-frames.ts';

const rounds = 9;
const roundMs = 100;
const recordBytes = 16_384;

let handedOn = 0;

const sink: FrameSink = {
  payload: (bytes) => {
    handedOn += bytes.length;
  },
  control: () => 'on',
  empty: () => 'on',
};

function measure(subject: string, once: () => void): void {
  const results: number[] = [];
  let perRound = 100;
  for (let round = 0; round < rounds + 2; round += 1) {
    const start = performance.now();
    for (let i = 0; i < perRound; i += 1) once();
    const ms = performance.now() - start;
    // The first rounds warm the compiler up, and find out how much a round can do.
    if (round >= 2) results.push((ms * 1e6) / perRound);
    else perRound = Math.max(10, Math.ceil((perRound * roundMs) / ms));
  }
  results.sort((a, b) => a - b);
  const figure = (index: number): number => Number((results[index] ?? 0).toFixed(1));
  console.log(
    JSON.stringify({
      subject,
      unit: 'ns',
      median: figure(Math.floor(rounds / 2)),
      min: figure(0),
      max: figure(rounds - 1),
    }),
  );
}

function clientFrame(bytes: number): Buffer {
  const header = frameHeader(opcodes.binary, bytes);
  header[1] = (header[1] ?? 0) | 0x80;
  return Buffer.concat([header, randomBytes(4), randomBytes(bytes)]);
}

function byByte(bytes: Buffer, at: number): void {
  for (let i = at; i < bytes.length; i += 1) {
    bytes[i] = (bytes[i] ?? 0) ^ (bytes[at - 4 + ((i - at) & 3)] ?? 0);
  }
}

for (const bytes of [16, 100, 1_000, recordBytes]) {
  // Reading takes the mask off, and reading again puts it back: the bytes are as good as new ones.
  const frame = clientFrame(bytes);
  const reader = new FrameReader();
  measure(`websocket: read a frame of ${bytes} bytes`, () => void reader.push(frame, sink));
  measure(`websocket: unmask ${bytes} bytes one by one`, () => byByte(frame, frame.length - bytes));
}

const small = Buffer.concat(
  Array.from({ length: Math.floor(recordBytes / 7) }, () => clientFrame(1)),
);
// What is moved is not as good as new: the frames are copied in each time.
const record = Buffer.alloc(small.length);
const manyFrames = new FrameReader();
measure(`websocket: read ${recordBytes} bytes in frames of one byte`, () => {
  small.copy(record);
  manyFrames.push(record, sink);
});

for (const bytes of [100, 1_000, recordBytes, 262_144]) {
  const payload = randomBytes(bytes);
  measure(`websocket: write ${bytes} bytes behind a header`, () => {
    handedOn += frameOf(opcodes.binary, payload).length;
  });
  measure(`websocket: a header for ${bytes} bytes`, () => {
    handedOn += frameHeader(opcodes.binary, bytes).length;
  });
}

if (handedOn === 0) throw new Error('nothing was read');
