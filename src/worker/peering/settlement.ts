/**
 * Whether a home has heard from everybody since the members changed: of each worker, from its desk (what it serves) and
 * from its home (what it knew). Everybody is the members and whoever is still linked: a worker that drains serves on.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { View } from './ports.ts';
import { homeOf } from './rendezvous.ts';
import type { AttachedWord } from './words.ts';

/** Views that may follow each other unsettled; after that nothing is taken as known. */
const maxUnsettled = 16;
/** Questions that wait for a settlement. */
const maxWaiting = 10_000;

export class Settlement {
  readonly #self: number;
  /** The last view that was settled, then those that were not. Empty at first: nothing is known. */
  #views: View[] = [];
  #settled = false;
  #flushed = false;
  #overflown = true;
  /** Worker and part → the view of which it said that it was done. */
  readonly #done = new Map<string, string>();
  #touched = new Set<PrincipalName>();
  readonly #waiting: (() => void)[] = [];

  constructor(self: number) {
    this.#self = self;
  }

  /** Whether every desk has said, since the members changed, what it serves: nothing of before is on its way to us. */
  get flushed(): boolean {
    return this.#flushed;
  }

  begin(view: View): void {
    this.#settled = false;
    this.#flushed = false;
    this.#views.push(view);
    if (this.#views.length <= maxUnsettled) return;
    this.#overflown = true;
    this.#views = [view];
  }

  attached(from: number, { view, part }: AttachedWord): void {
    this.#done.set(`${part} ${from}`, view);
  }

  /** The link has ended: it will say so again. */
  lost(slot: number): void {
    this.#done.delete(`desk ${slot}`);
    this.#done.delete(`home ${slot}`);
  }

  /** To be reviewed when the settlement is reached. */
  touch(principal: PrincipalName): void {
    this.#touched.add(principal);
  }

  /** Runs `step` then; not at all when too many wait. */
  later(step: () => void): void {
    if (this.#waiting.length < maxWaiting) this.#waiting.push(step);
  }

  /** This worker was home to the identity all the time, so it has missed nothing; or it has heard from everybody. */
  knows(principal: PrincipalName): boolean {
    if (this.#settled) return true;
    if (this.#overflown) return false;
    return this.#views.every(({ slots }) => homeOf(principal, slots) === this.#self);
  }

  /** @returns whether `flushed` has just become true. */
  flush(linked: ReadonlySet<number>): boolean {
    if (this.#flushed || !this.#heardOf('desk', linked)) return false;
    this.#flushed = true;
    return true;
  }

  /** @returns what was touched, when the last view has just been settled. */
  settle(linked: ReadonlySet<number>): ReadonlySet<PrincipalName> | undefined {
    const view = this.#views[this.#views.length - 1];
    if (this.#settled || view === undefined) return undefined;
    if (!this.#heardOf('desk', linked) || !this.#heardOf('home', linked)) return undefined;
    this.#settled = true;
    this.#overflown = false;
    this.#views = [view];
    const touched = this.#touched;
    this.#touched = new Set();
    // The steps see a settled home, and the budgets before anything is lent anew.
    for (const step of this.#waiting.splice(0)) step();
    return touched;
  }

  #heardOf(part: AttachedWord['part'], linked: ReadonlySet<number>): boolean {
    const view = this.#views[this.#views.length - 1];
    if (view === undefined) return false;
    for (const slot of new Set([...view.slots, ...linked])) {
      if (this.#done.get(`${part} ${slot}`) !== view.id) return false;
    }
    return true;
  }
}
