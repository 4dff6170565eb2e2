/**
 * What a turn of the event loop writes, gathered: one block of lmdb's when the turn ends, and one promise that all who
 * take part share. It is the same transaction as everything else that the turn writes.
 *
 * A write of its own costs an operation, five promises and a timer, all of which outlive two collections of V8's young
 * generation while the disk flushes.
 */
import type { RootDatabase } from 'lmdb';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { disown } from './lmdb-commits.ts';
import type { LmdbCommits } from './lmdb-commits.ts';

export interface TurnWriter {
  /** Writes what it has gathered, inside a block of writes: the turn ends. */
  writeGathered(): void;
}

interface Turn {
  readonly writers: Set<TurnWriter>;
  done: Promise<void> | undefined;
  failure: SallyportError | undefined;
}

export class LmdbTurns {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #commits: LmdbCommits;
  #turn: Turn | undefined;

  constructor(root: RootDatabase<Buffer, Buffer>, commits: LmdbCommits) {
    this.#root = root;
    this.#commits = commits;
    root.on('beforecommit', () => this.#end());
  }

  /**
   * `writer` is called when this turn ends.
   *
   * @returns the same promise for all of a turn; it rejects with SallyportError `io`.
   * @throws SallyportError `io` when nothing may be written: `writer` is not called then.
   */
  join(writer: TurnWriter): Promise<void> {
    this.#commits.assertWritable();
    const turn = (this.#turn ??= {
      writers: new Set(),
      done: undefined,
      failure: undefined,
    });
    turn.writers.add(writer);
    return (turn.done ??= this.#settled(turn));
  }

  /** Resolves when what was gathered has been written, or has not. */
  async idle(): Promise<void> {
    await this.#turn?.done?.catch(() => {});
  }

  async #settled(turn: Turn): Promise<void> {
    try {
      // With an empty block lmdb's turn begins; what is written before its end belongs to it.
      await this.#commits.written(() => [this.#root.batch(() => {})]);
    } finally {
      // It has not begun when lmdb is closed.
      if (this.#turn === turn) this.#turn = undefined;
    }
    if (turn.failure !== undefined) throw turn.failure;
  }

  /** lmdb would print what is thrown here and go on. */
  #end(): void {
    const turn = this.#turn;
    if (turn === undefined) return;
    this.#turn = undefined;
    for (const writer of turn.writers) {
      try {
        // In a block a write makes no promise of its own.
        disown(this.#root.batch(() => writer.writeGathered()));
      } catch (error) {
        turn.failure = new SallyportError('io', `the store cannot write: ${messageOf(error)}`, {
          cause: error,
        });
      }
    }
  }
}
