/**
 * Keeps this process from committing while another one opens the environment. liblmdb (of lmdb 3.5.6, `mdb_env_open2`)
 * reads which transaction is the last one, maps the file and then says so to all processes, under no lock: whatever was
 * committed in between is overwritten by the next transaction (ITS#9496 of OpenLDAP, mended there and not here).
 *
 * What is written meanwhile waits where lmdb would hand it to its thread, in its order, and is one transaction after that.
 */
import type { RootDatabase } from 'lmdb';
import { SallyportError } from '../../common/base/errors.ts';

type OnStatus = (status: number) => unknown;
type StartWriting = (address: number, onStatus: OnStatus) => void;

/** What lmdb's thread says before it has finished. */
const progress: ReadonlySet<number> = new Set([1, 2]);

export class LmdbGate {
  readonly #start: StartWriting;
  #isHeld = false;
  #waiting: (() => void)[] = [];
  #underWay = 0;
  #idle: PromiseWithResolvers<void> | undefined;

  /** @throws SallyportError `internal` when lmdb is not the one that we know. */
  constructor(root: RootDatabase<Buffer, Buffer>) {
    const env: unknown = 'env' in root ? root.env : undefined;
    if (!hasStartWriting(env)) throw new SallyportError('internal', 'lmdb starts writing unseen');
    this.#start = env.startWriting.bind(env);
    const value: StartWriting = (address, onStatus) => {
      if (this.#isHeld) this.#waiting.push(() => this.#begin(address, onStatus));
      else this.#begin(address, onStatus);
    };
    // lmdb calls it as a method of this object; that of its class cannot be overwritten.
    Object.defineProperty(env, 'startWriting', { value });
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Nothing begins to be written until `goOn`. Resolves when nothing is under way any more. */
  async hold(): Promise<void> {
    this.#isHeld = true;
    if (this.#underWay === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  goOn(): void {
    this.#isHeld = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const begin of waiting) begin();
  }

  #begin(address: number, onStatus: OnStatus): void {
    this.#underWay += 1;
    this.#start(address, (status) => {
      const outcome = onStatus(status);
      if (!progress.has(status)) this.#ended();
      return outcome;
    });
  }

  #ended(): void {
    this.#underWay -= 1;
    if (this.#underWay > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }
}

function hasStartWriting(env: unknown): env is { startWriting: StartWriting } {
  return (
    typeof env === 'object' &&
    env !== null &&
    'startWriting' in env &&
    typeof env.startWriting === 'function'
  );
}
