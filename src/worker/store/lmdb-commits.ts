/**
 * When a write to LMDB is done: committed, and on the disk. lmdb hands out promises for each write and for the batch of
 * each turn of the event loop; those that nobody takes would end the process when the disk is full.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from 'lmdb';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { InTime } from './in-time.ts';

/** A disk that takes longer is broken; lmdb would never say so. */
const commitTimeoutMs = 30_000;

export interface CommitOptions {
  /** Asked before each write; otherwise it may always be. */
  readonly mayWrite: () => boolean;
  /**
   * Nothing can be written any more in this process; by default that is its end. So it is when the disk has not taken the
   * page that makes a transaction valid (liblmdb's `MDB_FATAL_ERROR`): that commit fails with the disk's reason, and lmdb
   * never settles another. The files are sound, and a new process goes on when the disk does.
   */
  readonly onBroken?: (error: SallyportError) => void;
  readonly timeoutMs?: number;
}

/** One for all that is written in an environment. */
export class LmdbCommits {
  readonly #database: Database<Buffer, Buffer>;
  readonly #mayWrite: () => boolean;
  readonly #onBroken: (error: SallyportError) => void;
  readonly #inTime: InTime;
  #guarding = false;
  /** Since the last commit that succeeded. */
  #hasFailed = false;

  /** @param database any of the environment. */
  constructor(database: Database<Buffer, Buffer>, options: CommitOptions) {
    const { mayWrite, onBroken = endProcess, timeoutMs = commitTimeoutMs } = options;
    this.#database = database;
    this.#mayWrite = mayWrite;
    this.#onBroken = onBroken;
    this.#inTime = new InTime(timeoutMs, () => this.#late());
  }

  /** @throws SallyportError `io` when nothing would be written now. */
  assertWritable(): void {
    if (!this.#mayWrite()) throw new SallyportError('io', 'the disk is full');
    // Each would wait as long, and lmdb has no bound for what waits.
    if (this.#inTime.isOverdue) throw diskStands();
  }

  /**
   * Settles when all of `work` has been committed and flushed, which LMDB does at once.
   *
   * @returns false when a condition did not hold.
   * @throws SallyportError `io`: it is not known to be stored. What the disk has not taken in time may be taken later.
   */
  async written(work: () => Promise<boolean>[]): Promise<boolean> {
    this.assertWritable();
    try {
      const outcomes = work();
      this.#guardBatch();
      const done = await this.#inTime.settled(together(outcomes));
      this.#hasFailed = false;
      return done;
    } catch (error) {
      if (error instanceof SallyportError) throw error;
      this.#hasFailed = true;
      throw new SallyportError('io', `the store cannot write: ${await reasonOf(error)}`, {
        cause: error,
      });
    }
  }

  #late(): SallyportError {
    const error = diskStands();
    if (this.#hasFailed) this.#onBroken(error);
    return error;
  }

  /** The promise of a batch is given to nobody: its rejection would be nobody's. */
  #guardBatch(): void {
    if (this.#guarding) return;
    this.#guarding = true;
    setImmediate(() => {
      this.#guarding = false;
      this.#database.committed.then(() => {}, quietly);
    });
  }
}

function together(outcomes: Promise<boolean>[]): Promise<boolean> {
  const [only] = outcomes;
  if (only !== undefined && outcomes.length === 1) return only;
  return Promise.all(outcomes).then((results) => results.every(Boolean));
}

/** As any defect does: a worker that serves on without its store would refuse everything until somebody looks. */
function endProcess(error: SallyportError): void {
  setImmediate(() => {
    throw error;
  });
}

function diskStands(): SallyportError {
  return new SallyportError('io', 'the disk does not take what is written');
}

/** The outcome of a write inside a block is that of the block. */
export function disown(outcome: Promise<unknown>): void {
  outcome.catch(quietly);
}

/**
 * What the operator must know, such as that the disk is full: lmdb's error says "see commitError", a promise that is
 * rejected with it right after.
 */
async function reasonOf(error: unknown): Promise<string> {
  if (!(error instanceof Error) || !('commitError' in error)) return messageOf(error);
  const unknown = nextTurn(messageOf(error));
  return Promise.race([Promise.resolve(error.commitError).then(() => unknown, messageOf), unknown]);
}

/** lmdb rejects a second promise with the reason; unhandled, it would end the process. */
function quietly(error: unknown): void {
  if (!(error instanceof Error) || !('commitError' in error)) return;
  if (error.commitError instanceof Promise) error.commitError.catch(() => {});
}
