/** The lines of a file in pieces of bounded size, whatever the file holds. */
import { createReadStream } from 'node:fs';
import { maxLineBytes } from './record.ts';

export interface Line {
  /** Without the newline; only the first `maxLineBytes + 1` bytes of a line that is longer than any of ours. */
  readonly text: string;
  /** False for what stands after the last newline. */
  readonly complete: boolean;
}

const newline = 0x0a;

/** The first `size` bytes of the file at `path`, line by line. */
export async function* readLines(path: string, size: number): AsyncGenerator<Line> {
  if (size === 0) return;
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { end: size - 1, highWaterMark: 256 * 1024 })) {
    let rest = chunk as Buffer; // a stream without encoding reads buffers
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline)) {
      yield { text: joined(held, rest.subarray(0, end)), complete: true };
      held = Buffer.alloc(0);
      rest = rest.subarray(end + 1);
    }
    held = Buffer.concat([held, rest.subarray(0, Math.max(0, maxLineBytes + 1 - held.length))]);
  }
  if (held.length > 0) yield { text: held.toString('utf8'), complete: false };
}

function joined(head: Buffer, tail: Buffer): string {
  return Buffer.concat([head, tail])
    .subarray(0, maxLineBytes + 1)
    .toString('utf8');
}
