/** Rows whose subject does not exist yet: named, so that nobody takes the table for the whole of it. */
import type { Missing, Row } from '../harness/results.ts';

function rowOf(name: string, subject: string, reason: string): Row {
  return { name, run: (): Promise<Missing[]> => Promise.resolve([{ row: name, subject, reason }]) };
}

export const notBuilt: readonly Row[] = [
  rowOf(
    'sessions',
    'live sessions on 2 cores; pass 100,000 with 10,000 messages a second, goal the same at half the memory',
    'bench/soak.ts is its load',
  ),
];
