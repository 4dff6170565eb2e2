/** What a crash may have left at the end of the log, told apart from what it cannot have left. */
import { fstatSync, ftruncateSync, readSync } from 'node:fs';
import type { StoredHead } from './head-store.ts';
import { maxLineBytes, parseRecord } from './record.ts';
import type { AuditHead } from './verify.ts';

export interface Recovery {
  readonly head: AuditHead;
  /** The end of the file is not what the head says, and no crash explains it. */
  readonly damaged: boolean;
  /** The file ends inside a line. */
  readonly torn: boolean;
}

/**
 * A line is announced in the head, written, then confirmed. So the file may lack the announced line, hold a part of it
 * (which is cut away: nobody was told that it was written) or hold all of it (then the head is behind). A file that
 * ends anywhere else was changed by someone.
 */
export function recover(descriptor: number, stored: StoredHead): Recovery {
  const { lastLine, tornBytes, size } = readTail(descriptor);
  const last = lastLine === undefined ? undefined : parseRecord(lastLine);
  const head: AuditHead = { seq: stored.seq, hash: stored.hash };
  const isAnnounced = last?.seq === stored.seq + 1 && last.hash === stored.pendingHash;
  if (isAnnounced && last.prev === stored.hash && tornBytes === 0) {
    return { head: { seq: last.seq, hash: last.hash }, damaged: false, torn: false };
  }
  const endsAtHead =
    stored.seq === 0
      ? lastLine === undefined
      : last?.seq === stored.seq && last.hash === stored.hash;
  if (endsAtHead && tornBytes === 0) return { head, damaged: false, torn: false };
  if (endsAtHead && stored.pendingHash !== undefined && tornBytes <= maxLineBytes) {
    ftruncateSync(descriptor, size - tornBytes);
    return { head, damaged: false, torn: false };
  }
  return { head, damaged: true, torn: tornBytes > 0 };
}

interface Tail {
  /** The last complete line; undefined when there is none. */
  readonly lastLine: string | undefined;
  /** Bytes after the last newline. */
  readonly tornBytes: number;
  readonly size: number;
}

function readTail(descriptor: number): Tail {
  const { size } = fstatSync(descriptor);
  // A torn line, a whole one and the newline before it fit.
  const window = Buffer.alloc(Math.min(size, 2 * maxLineBytes + 2));
  let length = 0;
  for (let got = -1; got !== 0 && length < window.length; length += got) {
    got = readSync(
      descriptor,
      window,
      length,
      window.length - length,
      size - window.length + length,
    );
  }
  const lastNewline = window.lastIndexOf(0x0a);
  const tornBytes = window.length - (lastNewline + 1);
  if (lastNewline < 0) return { lastLine: undefined, tornBytes, size };
  const start = lastNewline === 0 ? 0 : window.lastIndexOf(0x0a, lastNewline - 1) + 1;
  return { lastLine: window.toString('utf8', start, lastNewline), tornBytes, size };
}
