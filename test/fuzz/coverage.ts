/**
 * Which code has run, by V8's block coverage in the process itself. One MUST be made before the code that is measured is
 * imported: what was compiled before is counted by whole functions only.
 */
import { Session } from 'node:inspector';
import type { Profiler } from 'node:inspector';

/** What ran between two looks. */
export type Looked = readonly Profiler.FunctionCoverage[];

let begun: Session | undefined;

/** For the rest of the process: when V8 stops it forgets how to count the blocks of what is compiled by then. */
function session(): Session {
  if (begun !== undefined) return begun;
  begun = new Session();
  begun.connect();
  begun.post('Profiler.enable');
  begun.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  return begun;
}

export class Coverage {
  readonly #session = session();
  /** Beginnings of the URLs of the files that count. */
  readonly #folders: readonly string[];
  /** By function: which of its characters have run, and, in bit n of the last number, 2ⁿ times at one look. */
  readonly #seen = new Map<string, Uint8Array>();
  readonly #times = new Map<string, number>();
  #covered = 0;

  constructor(folders: readonly string[]) {
    this.#folders = folders;
  }

  /** Characters of source that have run. */
  get covered(): number {
    return this.#covered;
  }

  /** What has run since the last look. */
  look(): Looked {
    let looked: Looked = [];
    // Of a session of the own thread, answered before `post` returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) throw error;
      looked = answer.result
        .filter(({ url }) => this.#folders.some((folder) => url.startsWith(folder)))
        .flatMap(({ scriptId, functions }) =>
          functions.map((f) => ({ ...f, functionName: scriptId })),
        );
    });
    return looked;
  }

  /** Whether some of it had never run before. */
  isNew(looked: Looked): boolean {
    return looked.some((f) => {
      const seen = this.#seen.get(keyOf(f));
      for (const { from, to } of ran(f)) {
        if (seen === undefined || seen.subarray(from, to).includes(0)) return true;
      }
      return false;
    });
  }

  /**
   * Takes note of it.
   * @param times whether it is of one input, so that how often a function ran tells something too.
   * @returns whether some of it is new.
   */
  add(looked: Looked, times: boolean): boolean {
    let isNew = false;
    for (const f of looked) {
      const key = keyOf(f);
      for (const { from, to, count } of ran(f)) {
        isNew = this.#mark(key, f, from, to) || isNew;
        if (times && from === 0) isNew = this.#count(key, count) || isNew;
      }
    }
    return isNew;
  }

  #mark(
    key: string,
    { ranges: [whole] }: Profiler.FunctionCoverage,
    from: number,
    to: number,
  ): boolean {
    if (whole === undefined) return false;
    let seen = this.#seen.get(key);
    if (seen === undefined) {
      seen = new Uint8Array(whole.endOffset - whole.startOffset);
      this.#seen.set(key, seen);
    }
    const part = seen.subarray(from, to);
    const before = part.reduce((sum, flag) => sum + flag, 0);
    part.fill(1);
    this.#covered += part.length - before;
    return before < part.length;
  }

  #count(key: string, count: number): boolean {
    const bit = 1 << Math.min(31 - Math.clz32(count), 16);
    const before = this.#times.get(key) ?? 0;
    this.#times.set(key, before | bit);
    return (before & bit) === 0;
  }
}

function keyOf({ functionName: scriptId, ranges: [whole] }: Profiler.FunctionCoverage): string {
  return `${scriptId}:${whole?.startOffset}:${whole?.endOffset}`;
}

/** The parts of a function that ran, counted from its beginning: its ranges nest, and the innermost holds. */
function ran({ ranges }: Profiler.FunctionCoverage): { from: number; to: number; count: number }[] {
  const parts: { from: number; to: number; count: number }[] = [];
  const open: Profiler.CoverageRange[] = [];
  const start = ranges[0]?.startOffset ?? 0;
  let at = start;
  const upTo = (end: number): void => {
    const count = open.at(-1)?.count ?? 0;
    if (count > 0 && end > at) parts.push({ from: at - start, to: end - start, count });
    at = Math.max(at, end);
  };
  for (const range of ranges) {
    for (let inner = open.at(-1); inner !== undefined && inner.endOffset <= range.startOffset;) {
      upTo(inner.endOffset);
      open.pop();
      inner = open.at(-1);
    }
    upTo(range.startOffset);
    open.push(range);
  }
  for (let inner = open.pop(); inner !== undefined; inner = open.pop()) {
    open.push(inner);
    upTo(inner.endOffset);
    open.pop();
  }
  return parts;
}
