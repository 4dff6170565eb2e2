/**
 * Coverage-guided fuzzing: an input that makes code run which had not run before joins the corpus that the next inputs
 * are made from. The same seed gives the same inputs.
 *
 * V8 takes milliseconds to tell what ran, a hundred times as long as most inputs take. So inputs run in batches, and only
 * a batch that has shown something new is run again, by halves, down to the input that did it.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Coverage } from './coverage.ts';
import { mutated } from './mutate.ts';
import { Random } from '../harness/random.ts';

export interface FuzzTarget {
  /** Inputs to begin with; never empty. */
  readonly seeds: readonly Buffer[];
  /** Bytes that mean something. */
  readonly words: readonly Buffer[];
  readonly maxBytes: number;
  /** @throws whatever it likes when what must hold for any bytes at all does not hold. */
  readonly check: (input: Buffer) => void;
}

export interface Crash {
  readonly input: Buffer;
  readonly error: unknown;
}

export interface FuzzReport {
  readonly runs: number;
  /** Inputs that showed something new. */
  readonly corpus: number;
  /** Characters of source that ran. */
  readonly covered: number;
  readonly crash: Crash | undefined;
}

export interface FuzzOptions {
  readonly seed: number;
  /** Asked after each batch. */
  readonly until: (runs: number) => boolean;
  /** Folders whose code counts. */
  readonly folders?: readonly string[];
  /** False: nothing is learnt, to see what learning is worth. */
  readonly guided?: boolean;
}

const largestBatch = 256;
/** An input that takes longer would hold up everyone else on the worker. */
const slowMs = 2_000;
const root = join(import.meta.dirname, '..', '..');

/** @param load imports the target; what it measures MUST NOT have been imported before. */
export async function fuzz(
  load: () => Promise<FuzzTarget>,
  { seed, until, folders = [join(root, 'src')], guided = true }: FuzzOptions,
): Promise<FuzzReport> {
  const coverage = new Coverage(folders.map((folder) => pathToFileURL(folder).href));
  const target = await load();
  const random = new Random(seed);
  const corpus: Buffer[] = [];
  let batch = 8;
  let runs = 0;
  let crash: Crash | undefined;
  /** Whether the batch can go on. */
  const run = (input: Buffer): boolean => {
    runs += 1;
    crash = crashOf(target, input);
    return crash === undefined;
  };
  coverage.look();
  for (const input of target.seeds) {
    if (!run(input)) break;
    // Of many seeds that are alike, one is enough to begin with.
    if (coverage.add(coverage.look(), true) || corpus.length === 0) corpus.push(input);
  }
  /** Finds those that show something new by halves. */
  const explore = (inputs: readonly Buffer[]): void => {
    if (!inputs.every(run)) return;
    const looked = coverage.look();
    const [only] = inputs;
    if (only !== undefined && inputs.length === 1) {
      if (coverage.add(looked, true)) corpus.push(only);
      return;
    }
    if (!guided || !coverage.isNew(looked)) return;
    const half = inputs.length >> 1;
    explore(inputs.slice(0, half));
    if (crash === undefined) explore(inputs.slice(half));
    // What ran because of the order of the inputs, and not of one of them, does not count again.
    coverage.add(looked, false);
  };
  while (crash === undefined && !until(runs)) {
    const materials = { ...target, corpus };
    const known = corpus.length;
    explore(Array.from({ length: batch }, () => mutated(materials, random)));
    // While every few inputs show something new, a large batch would only be run again and again.
    batch = known < corpus.length ? Math.max(batch >> 1, 8) : Math.min(batch << 1, largestBatch);
  }
  return {
    runs,
    corpus: corpus.length,
    covered: coverage.covered,
    crash: crash === undefined ? undefined : smallest(target, crash),
  };
}

function crashOf({ check }: FuzzTarget, input: Buffer): Crash | undefined {
  // Of this thread: a busy machine makes no input slow.
  const before = process.threadCpuUsage();
  try {
    check(Buffer.from(input));
  } catch (error) {
    return { input, error };
  }
  const { user, system } = process.threadCpuUsage(before);
  const took = (user + system) / 1_000;
  if (took < slowMs) return undefined;
  return { input, error: new Error(`took ${Math.round(took)} ms`) };
}

/** Without the bytes that the crash does not need. */
function smallest(target: FuzzTarget, crash: Crash): Crash {
  let best = crash;
  for (let length = best.input.length >> 1; length > 0; length >>= 1) {
    for (let at = 0; at + length <= best.input.length;) {
      const input = Buffer.concat([best.input.subarray(0, at), best.input.subarray(at + length)]);
      const again = crashOf(target, input);
      if (again === undefined) at += length;
      else best = again;
    }
  }
  return best;
}
