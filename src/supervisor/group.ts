/**
 * The workers of one run: which slots are taken by which process, in which state. A slot is given to one process at a
 * time; an upgrade takes fresh slots, so that the new and the old ones live side by side until the old have drained.
 */
import type { Member } from '../common/ipc/messages.ts';
import type { Child } from './child.ts';
import type { FrameBudget } from './frame-budget.ts';

export interface WorkerProcess {
  readonly slot: number;
  readonly generation: number;
  readonly child: Child;
  readonly budget: FrameBudget;
  /** For when it may open the store. */
  readonly welcome: () => void;
  /** Monotonic; undefined = it waits for its turn. */
  welcomedAtMs: number | undefined;
  state: 'starting' | 'joined' | 'ready' | 'draining';
}

export class WorkerGroup {
  readonly #bySlot = new Map<number, WorkerProcess>();
  #generation = 0;

  nextGeneration(): number {
    this.#generation += 1;
    return this.#generation;
  }

  freeSlot(): number {
    let slot = 0;
    while (this.#bySlot.has(slot)) slot += 1;
    return slot;
  }

  add(worker: WorkerProcess): void {
    this.#bySlot.set(worker.slot, worker);
  }

  remove(worker: WorkerProcess): void {
    if (this.#bySlot.get(worker.slot) === worker) this.#bySlot.delete(worker.slot);
  }

  at(slot: number): WorkerProcess | undefined {
    return this.#bySlot.get(slot);
  }

  all(): WorkerProcess[] {
    return [...this.#bySlot.values()];
  }

  serving(): WorkerProcess[] {
    return this.all().filter((worker) => worker.state !== 'draining');
  }

  /** Every process there is: those whose acknowledgement control needs. */
  everyone(): Member[] {
    return this.all().map(memberOf);
  }

  /** Those that are peers of each other and homes of identities. */
  members(): Member[] {
    return this.all()
      .filter((worker) => worker.state === 'joined' || worker.state === 'ready')
      .map(memberOf);
  }

  ready(count: number): boolean {
    return this.all().filter((worker) => worker.state === 'ready').length >= count;
  }
}

function memberOf({ slot, generation, child }: WorkerProcess): Member {
  return { slot, generation, pid: child.pid };
}

/** For the log. */
export function describe(worker: WorkerProcess): { readonly slot: number; readonly pid: number } {
  return { slot: worker.slot, pid: worker.child.pid };
}
