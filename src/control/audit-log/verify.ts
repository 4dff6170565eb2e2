/** Whether the audit log is what was written, and if not, the first line where it is not. */
import type { Line } from './lines.ts';
import { firstPrev, parseRecord } from './record.ts';
import type { AuditRecord } from './record.ts';

/** The newest line, as kept apart from the file. */
export interface AuditHead {
  /** 0 before the first line. */
  readonly seq: number;
  readonly hash: string;
}

export const auditFaults = ['changed', 'removed', 'inserted', 'reordered', 'cut off'] as const;
export type AuditFault = (typeof auditFaults)[number];

export type AuditVerdict =
  | { readonly ok: true; readonly lines: number }
  | {
      readonly ok: false;
      /** Lines in the file. */
      readonly lines: number;
      /** The first line that is not as it was written (1-based); one past the end when the end is gone. */
      readonly line: number;
      readonly fault: AuditFault;
      /** One sentence for an operator. */
      readonly problem: string;
    };

/** One pass; `head` is from the moment at which the extent of `lines` was taken. */
export async function verifyLines(
  lines: AsyncIterable<Line>,
  head: AuditHead,
): Promise<AuditVerdict> {
  let count = 0;
  let previous: AuditRecord | undefined;
  let misfit: Misfit | undefined;
  for await (const line of lines) {
    count++;
    // Past the first misfit only the line behind it and the number of lines still tell anything.
    if (misfit !== undefined) {
      if (count === misfit.line + 1) misfit.next = parseRecord(line.text);
      continue;
    }
    const record = line.complete ? parseRecord(line.text) : undefined;
    const fits = record?.seq === count && record.prev === (previous?.hash ?? firstPrev);
    if (fits) previous = record;
    else misfit = { line: count, complete: line.complete, record, previous, next: undefined };
  }
  if (misfit !== undefined) return judge(misfit, count, head);
  if (count < head.seq) return fault(count, count + 1, 'cut off');
  if (count > head.seq) return fault(count, head.seq + 1, 'inserted');
  if ((previous?.hash ?? firstPrev) !== head.hash)
    return fault(count, Math.max(count, 1), 'changed');
  return { ok: true, lines: count };
}

interface Misfit {
  readonly line: number;
  readonly complete: boolean;
  readonly record: AuditRecord | undefined;
  readonly previous: AuditRecord | undefined;
  next: AuditRecord | undefined;
}

function judge(misfit: Misfit, count: number, head: AuditHead): AuditVerdict {
  const { line, complete, record, previous } = misfit;
  if (!complete) return fault(count, line, count <= head.seq ? 'cut off' : 'inserted');
  if (record === undefined) return fault(count, line, 'changed');
  // A line whose hash its successor (or the head) carries is genuine: then the one before it is not.
  const successorSays = misfit.next?.prev ?? (line === count ? head.hash : undefined);
  const isGenuine = successorSays === record.hash;
  if (record.seq === line) return fault(count, isGenuine ? Math.max(line - 1, 1) : line, 'changed');
  const rivals = record.seq === previous?.seq && record.hash !== previous.hash;
  const first = rivals && isGenuine ? line - 1 : line;
  if (count > head.seq) return fault(count, first, 'inserted');
  return fault(count, first, count < head.seq ? 'removed' : 'reordered');
}

const problems: Readonly<Record<AuditFault, (line: number) => string>> = {
  changed: (line) => `line ${line} is not what was written`,
  removed: (line) => `what was written as line ${line} is missing`,
  inserted: (line) => `line ${line} was not written by the gateway`,
  reordered: (line) => `line ${line} is not in its place`,
  'cut off': (line) => `the log ends before line ${line}, which was written`,
};

function fault(lines: number, line: number, kind: AuditFault): AuditVerdict {
  return { ok: false, lines, line, fault: kind, problem: problems[kind](line) };
}
