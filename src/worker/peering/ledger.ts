/** What the home of an identity knows about it. */
import type { PrincipalName } from '../../common/base/principal.ts';
import { isPresence } from '../broker/session-key.ts';
import { IdentityBudget } from './identity-budget.ts';

export interface OwnedSession {
  readonly clientId: string;
  readonly slot: number;
  readonly epoch: number;
  /** The claim that made it; undefined when it was attached. */
  readonly claim: number | undefined;
  /** The client's address; empty when it is not known. */
  readonly remote: string;
}

export class Ledger {
  readonly principal: PrincipalName;
  /** By client id; presences are among them. */
  readonly sessions = new Map<string, OwnedSession>();
  /** What may be spent, or a copy of what was lent. */
  readonly budget = new IdentityBudget();
  /** Borrower → the loan's id. One, but for the moment after two halves of a group have met again. */
  readonly loans = new Map<number, number>();
  /** Borrowers that have been asked for the budget and have not answered. */
  readonly recalled = new Set<number>();
  /** Questions that wait until the budget is back. */
  readonly waitingAsks: (() => void)[] = [];
  #queued = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(principal: PrincipalName) {
    this.principal = principal;
  }

  /** Steps that are under way or wait. */
  get queued(): number {
    return this.#queued;
  }

  /** Runs `step` when all before it are done, then `after` when none is left. `step` MUST NOT reject. */
  enqueue(step: () => Promise<void>, after: () => void): void {
    this.#queued += 1;
    this.#last = this.#last.then(step).then(() => {
      this.#queued -= 1;
      if (this.#queued === 0) after();
    });
  }

  /** Sessions that count against the identity's quota. */
  get counted(): number {
    let counted = 0;
    for (const clientId of this.sessions.keys()) if (!isPresence(clientId)) counted += 1;
    return counted;
  }

  /** Every worker that has a session or the budget. */
  workers(): Set<number> {
    const slots = new Set(this.loans.keys());
    for (const { slot } of this.sessions.values()) slots.add(slot);
    return slots;
  }

  serves(slot: number): boolean {
    for (const session of this.sessions.values()) {
      if (session.slot === slot) return true;
    }
    return false;
  }

  /** The only worker with sessions; undefined when there is none or more than one. */
  servingAlone(): number | undefined {
    let alone: number | undefined;
    for (const { slot } of this.sessions.values()) {
      if (alone !== undefined && alone !== slot) return undefined;
      alone = slot;
    }
    return alone;
  }

  lentTo(slot: number): boolean {
    return this.loans.has(slot);
  }

  /** Whether a worker's question has to wait for the budget: others have it, or it is on its way back. */
  mustWait(slot: number): boolean {
    return this.recalled.size > 0 || this.loans.size > (this.loans.has(slot) ? 1 : 0);
  }

  /** Who has to give the budget back before `slot` serves; also itself, when it will not be the only one. */
  borrowerInTheWayOf(slot: number | undefined): number | undefined {
    const others = [...this.sessions.values()].some((session) => session.slot !== slot);
    for (const borrower of this.loans.keys()) {
      if (others || borrower !== slot) return borrower;
    }
    return undefined;
  }

  /** Does nothing for another owner or epoch. */
  endSession(clientId: string, slot: number, epoch: number): void {
    const session = this.sessions.get(clientId);
    if (session?.slot === slot && session.epoch === epoch) this.sessions.delete(clientId);
  }

  endClaim(clientId: string, slot: number, claim: number): boolean {
    const session = this.sessions.get(clientId);
    if (session?.slot !== slot || session.claim !== claim) return false;
    return this.sessions.delete(clientId);
  }

  /** @returns whether anything was the worker's. */
  forgetWorker(slot: number): boolean {
    let changed = this.loans.delete(slot);
    for (const [clientId, session] of this.sessions) {
      if (session.slot !== slot) continue;
      this.sessions.delete(clientId);
      changed = true;
    }
    return changed;
  }

  forgettable(nowMs: number): boolean {
    return (
      this.sessions.size === 0 &&
      this.#queued === 0 &&
      this.loans.size === 0 &&
      this.budget.idle(nowMs)
    );
  }
}
