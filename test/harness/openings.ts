/**
 * Processes that share a store and have no supervisor, only a test: one at a time opens the store, while no other one
 * writes to it (src/worker/store/lmdb-gate.ts). They speak over the IPC channel.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { wakeLockWaiters } from '../../src/supervisor/lock-waiters.ts';
import type { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';

export type OpeningWord = 'up' | 'open' | 'opened' | 'hold' | 'held' | 'go-on';

/** The side of the test, which itself writes nothing meanwhile. */
export class Openings {
  readonly #users: ChildProcess[] = [];
  #last: Promise<void> = Promise.resolve();

  /** It has just been started. Resolves when it has opened the store, or has ended. */
  next(child: ChildProcess): Promise<void> {
    const up = heard(child, 'up');
    this.#last = this.#last.then(async () => {
      await up;
      await this.#open(child);
    });
    return this.#last;
  }

  async #open(child: ChildProcess): Promise<void> {
    await Promise.all(this.#users.map((user) => asked(user, 'hold', 'held')));
    await asked(child, 'open', 'opened');
    for (const user of this.#users) tell(user, 'go-on');
    this.#users.push(child);
    // As the supervisor does.
    child.once('exit', () => wake(this.#users));
  }
}

function wake(users: readonly ChildProcess[]): void {
  const running = users.filter((user) => user.exitCode === null && user.signalCode === null);
  const late = wakeLockWaiters(running.map((child) => ({ child }))).map(({ child }) => child);
  if (late.length > 0) setTimeout(wake, 500, late).unref();
}

/** The side of the child: resolves when it may open the store. */
export async function turnToOpen(): Promise<void> {
  const told = once(process, 'message');
  say('up');
  await told;
}

/** The child has opened the store, and holds from here on when it is asked to. */
export function hasOpened(store: Pick<LmdbEnvironment, 'hold' | 'goOn'>): void {
  process.on('message', (word) => {
    if (word === 'hold') void store.hold().then(() => say('held'));
    if (word === 'go-on') store.goOn();
  });
  say('opened');
}

function say(word: OpeningWord): void {
  process.send?.(word);
}

function tell(child: ChildProcess, word: OpeningWord): void {
  child.send(word, () => {});
}

function asked(child: ChildProcess, word: OpeningWord, answer: OpeningWord): Promise<void> {
  const answered = heard(child, answer);
  tell(child, word);
  return answered;
}

/** Resolves as well when the process has ended: it writes nothing any more. */
async function heard(child: ChildProcess, wanted: OpeningWord): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const listen = (word: unknown): void => {
    if (word === wanted) resolve();
  };
  const ended = (): void => resolve();
  child.on('message', listen).on('exit', ended);
  await promise;
  child.off('message', listen).off('exit', ended);
}
