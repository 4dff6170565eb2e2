/**
 * Removes from a spool what was delivered, for all lanes together and every few milliseconds: a transaction of the store
 * costs 30 to 50 µs, whatever is in it (bench/spool.ts). What is delivered in the meantime is known in memory; when the
 * worker is killed, it is delivered once more.
 */
import type { MessageId, SpoolStore, Timers } from './ports.ts';

const gatherMs = 5;

export class Settlements {
  readonly #store: SpoolStore;
  readonly #timers: Timers;
  readonly #spool: string;
  #ids: MessageId[] = [];
  #next: Promise<void> | undefined;

  constructor(store: SpoolStore, timers: Timers, spool: string) {
    this.#store = store;
    this.#timers = timers;
    this.#spool = spool;
  }

  /** Resolves when no worker sees them any more. @throws SallyportError `io` */
  settle(ids: readonly MessageId[]): Promise<void> {
    for (const id of ids) this.#ids.push(id);
    this.#next ??= this.#gather();
    return this.#next;
  }

  async #gather(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#timers.after(gatherMs, resolve);
    });
    const ids = this.#ids;
    this.#ids = [];
    this.#next = undefined;
    await this.#store.settle(this.#spool, ids);
  }
}
