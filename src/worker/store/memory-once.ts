/** The same in memory, for tests of what is built on the port. */
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { OnceStore } from '../credentials/ports.ts';
import { onceKeyBytes } from '../credentials/ports.ts';

export class MemoryOnce implements OnceStore {
  readonly #clock: Clock;
  readonly #expiries = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async putIfAbsent(key: Buffer, expiresAt: number): Promise<boolean> {
    if (key.length !== onceKeyBytes) throw new SallyportError('usage', 'a key of another length');
    const name = key.toString('latin1');
    if ((this.#expiries.get(name) ?? 0) > this.#clock.now()) return false;
    this.#expiries.set(name, expiresAt);
    return true;
  }

  async sweep(): Promise<number> {
    let removed = 0;
    for (const [name, expiresAt] of this.#expiries) {
      if (expiresAt > this.#clock.now()) continue;
      this.#expiries.delete(name);
      removed += 1;
    }
    return removed;
  }
}
