/**
 * The home of identities: who owns which session, and who may spend the rate budget. See rendezvous.ts for which
 * identities this worker is home to.
 *
 * One ledger per identity. Claims of one identity are decided one after the other; everything else acts at once. A
 * budget is lent to the one worker that serves the identity; its copy stays here and goes on if the borrower dies.
 *
 * When members change, desks attach what they serve to the new homes and old homes hand over what they knew. Until all
 * have said that they are done, claims wait for identities that this worker was not home to all the time.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { isPresence } from '../broker/session-key.ts';
import type { BucketLevels } from './identity-budget.ts';
import type { IdentityConduct } from './identity-conduct.ts';
import { Ledger } from './ledger.ts';
import type { OwnedSession } from './ledger.ts';
import type { PeerListener, Peers, View } from './ports.ts';
import { homeOf } from './rendezvous.ts';
import { Settlement } from './settlement.ts';
import type {
  Attached,
  AttachedSession,
  AttachWord,
  ClaimReply,
  ClaimWord,
  Loan,
} from './words.ts';
import {
  attachedPerWord,
  parseAsk,
  parseAttach,
  parseAttached,
  parseCancel,
  parseClaim,
  parseRelease,
  parseReturned,
  parseSeen,
} from './words.ts';

/** The longest that a claim is worked on, whatever the desk says. */
const maxClaimMs = 3_000;
/** One eviction or recall; a worker that is silent for longer is asked again, and killed by the supervisor after 2 s. */
const wordMs = 1_000;
const pauseMs = 50;
/** Claims of one identity that wait for each other. */
const maxQueued = 64;
/** Questions of one identity that wait for its budget to come back. */
const maxWaitingAsks = 256;
/** Identities without sessions whose budget is not idle. The oldest is forgotten first. */
const maxCooling = 1_000_000;
const sweptAtOnce = 10_000;
/** Epochs of one millisecond. Epochs follow the wall clock so that those of two homes compare. */
const epochsPerMs = 1_024;

interface Operation {
  readonly from: number;
  readonly word: ClaimWord;
  readonly link: number;
  readonly deadline: number;
  cancelled: boolean;
  readonly reply: (answer: ClaimReply) => void;
}

export interface IdentityHomeOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly sessionsPerIdentity: () => number;
  readonly conduct: IdentityConduct;
}

export class IdentityHome implements PeerListener {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #sessionsPerIdentity: () => number;
  readonly #conduct: IdentityConduct;
  readonly #ledgers = new Map<PrincipalName, Ledger>();
  /** In the order in which they lost their last session. */
  readonly #cooling = new Set<PrincipalName>();
  readonly #operations = new Set<Operation>();
  readonly #settlement: Settlement;
  /** Counts the links to a worker: a claim that came over an earlier one is nobody's. */
  readonly #linkOf = new Map<number, number>();
  /** Woken by whatever may let a claim go on. */
  readonly #waiting = new Set<() => void>();
  #epoch = 0;
  #closed = false;

  constructor({ peers, clock, sessionsPerIdentity, conduct }: IdentityHomeOptions) {
    this.#peers = peers;
    this.#clock = clock;
    this.#sessionsPerIdentity = sessionsPerIdentity;
    this.#conduct = conduct;
    this.#settlement = new Settlement(peers.slot);
    peers.listen(this);
    this.#handle('claim', parseClaim, (from, word, reply) => this.#claim(from, word, reply));
    this.#handle('cancel', parseCancel, (from, word) => {
      for (const operation of this.#operations) {
        if (operation.from === from && operation.word.claim === word.claim) {
          operation.cancelled = true;
        }
      }
      const ledger = this.#ledgers.get(word.principal);
      if (ledger?.endClaim(word.clientId, from, word.claim) === true) this.#review(ledger);
    });
    this.#handle('release', parseRelease, (from, word) => {
      const ledger = this.#ledgers.get(word.principal);
      if (word.loan !== undefined) this.#passOn(word.principal, word.loan.levels);
      if (ledger === undefined) return;
      this.#returned(ledger, from, word.loan);
      ledger.endSession(word.clientId, from, word.epoch);
      this.#review(ledger);
    });
    this.#handle('ask', parseAsk, (from, word, reply) => {
      const answer = (): void => {
        const ledger = this.#ledgers.get(word.principal);
        if (ledger?.lentTo(from) === true) {
          // It would not ask if it knew of the loan.
          this.#lendBack(ledger, from);
          reply({ answer: 'local' });
          return;
        }
        if (ledger?.serves(from) !== true) {
          reply({ answer: 'no' });
          return;
        }
        const now = this.#clock.monotonic();
        const granted = ledger.budget.take(word.buckets, word.cost, now);
        const levels = ledger.budget.levelsOf(word.buckets, now);
        reply({ answer: granted ? 'yes' : 'no', levels });
      };
      const ledger = this.#ledgers.get(word.principal);
      if (!this.#knows(word.principal)) this.#settlement.later(answer);
      else if (ledger?.mustWait(from) !== true) answer();
      else if (ledger.waitingAsks.length < maxWaitingAsks) ledger.waitingAsks.push(answer);
      else reply({ answer: 'no' });
    });
    this.#handle('seen', parseSeen, (_from, { principal, remote }) => {
      if (this.#isHome(principal)) this.#conduct.seen(principal, remote);
    });
    this.#handle('attach', parseAttach, (from, word) => this.#attach(from, word));
    this.#handle('attached', parseAttached, (from, word) => {
      this.#settlement.attached(from, word);
      this.#settle();
    });
  }

  /** Identities that this worker has something to say about. */
  get size(): number {
    return this.#ledgers.size;
  }

  /** Forgets identities without sessions whose budget has leaked empty. To be called every second or so. */
  sweep(): void {
    this.#conduct.sweep();
    const now = this.#clock.monotonic();
    let left = Math.min(this.#cooling.size, sweptAtOnce);
    for (const principal of this.#cooling) {
      left -= 1;
      if (left < 0) return;
      this.#cooling.delete(principal);
      const ledger = this.#ledgers.get(principal);
      if (ledger === undefined) continue;
      if (ledger.forgettable(now) || this.#cooling.size >= maxCooling) {
        this.#ledgers.delete(principal);
      } else {
        // To the end: the next sweep goes on where this one stopped.
        this.#cooling.add(principal);
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  onUp(slot: number): void {
    this.#linkOf.set(slot, (this.#linkOf.get(slot) ?? 0) + 1);
    const { view } = this.#peers;
    if (view?.slots.includes(slot) === true) {
      const its = [...this.#ledgers.values()].filter(
        ({ principal }) => homeOf(principal, view.slots) === slot,
      );
      this.#handOver(slot, its);
    }
    if (view !== undefined && this.#settlement.flushed) this.#saidAll(slot, view);
    this.#wake();
  }

  onDown(slot: number): void {
    this.#linkOf.set(slot, (this.#linkOf.get(slot) ?? 0) + 1);
    this.#settlement.lost(slot);
    if (this.#peers.view?.slots.includes(slot) !== true) this.#forgetWorker(slot);
    this.#settle();
    this.#wake();
  }

  onView(view: View): void {
    this.#settlement.begin(view);
    const moved = new Map<number, Ledger[]>(view.slots.map((slot) => [slot, []]));
    for (const ledger of this.#ledgers.values()) {
      for (const slot of ledger.workers()) {
        if (!this.#present(slot)) ledger.forgetWorker(slot);
      }
      const home = homeOf(ledger.principal, view.slots);
      if (home !== undefined && home !== this.#peers.slot) moved.get(home)?.push(ledger);
      else this.#settlement.touch(ledger.principal);
    }
    for (const [slot, ledgers] of moved) this.#handOver(slot, ledgers);
    this.#settle();
    this.#wake();
  }

  #handle<T>(
    type: string,
    parse: (body: unknown) => T | undefined,
    act: (from: number, word: T, reply: (body: object) => void) => void,
  ): void {
    this.#peers.handle(type, (from, body, reply) => {
      const word = parse(body);
      if (word === undefined) this.#peers.cut(from, `not a word of type ${type}`);
      else act(from, word, reply);
    });
  }

  #claim(from: number, word: ClaimWord, reply: (answer: ClaimReply) => void): void {
    if (!this.#isHome(word.principal)) {
      reply({ status: 'elsewhere' });
      return;
    }
    if (!this.#conduct.admits(word.principal, word.clientId)) {
      reply({ status: 'rate' });
      return;
    }
    const ledger = this.#ledgerOf(word.principal);
    if (ledger.queued >= maxQueued) {
      reply({ status: 'busy' });
      return;
    }
    const operation: Operation = {
      from,
      word,
      link: this.#linkOf.get(from) ?? 0,
      deadline: this.#clock.monotonic() + Math.min(word.leftMs, maxClaimMs),
      cancelled: false,
      reply,
    };
    this.#operations.add(operation);
    ledger.enqueue(
      async () => {
        const answer = await this.#decide(operation);
        this.#operations.delete(operation);
        if (answer !== undefined) reply(answer);
      },
      () => this.#review(this.#ledgers.get(word.principal)),
    );
  }

  /** @returns undefined when nobody waits for the answer any more. */
  async #decide(operation: Operation): Promise<ClaimReply | undefined> {
    const { from, word, deadline } = operation;
    const { principal, clientId, remote } = word;
    const isSuspected = this.#conduct.seen(principal, remote);
    for (;;) {
      if (operation.cancelled || (this.#linkOf.get(from) ?? 0) !== operation.link) return undefined;
      if (this.#closed || this.#clock.monotonic() >= deadline) return { status: 'busy' };
      if (!this.#isHome(principal)) return { status: 'elsewhere' };
      if (!this.#knows(principal)) {
        await this.#change(deadline);
        continue;
      }
      const ledger = this.#ledgerOf(principal);
      if (this.#conduct.refuses(principal, remote, ledger.sessions.values()))
        return { status: 'in-use' };
      const older =
        ledger.sessions.get(clientId) ??
        (isSuspected ? this.#conduct.inTheWay(remote, ledger.sessions.values()) : undefined);
      if (older !== undefined) {
        await this.#evict(ledger, older, deadline);
        continue;
      }
      if (!isPresence(clientId) && ledger.counted >= this.#sessionsPerIdentity()) {
        if ([...ledger.workers()].every((slot) => this.#linked(slot))) return { status: 'quota' };
        // Some of these sessions may have ended with their worker, or while it could not tell.
        await this.#change(deadline);
        continue;
      }
      const borrower = ledger.borrowerInTheWayOf(from);
      if (borrower !== undefined) {
        await this.#recall(ledger, borrower, deadline);
        continue;
      }
      return this.#grant(ledger, operation);
    }
  }

  #grant(ledger: Ledger, { from, word }: Operation): ClaimReply {
    const epoch = this.#nextEpoch();
    this.#cooling.delete(ledger.principal);
    const { clientId, claim, remote } = word;
    ledger.sessions.set(clientId, { clientId, slot: from, epoch, claim, remote });
    const alone = ledger.servingAlone() === from;
    // What was lent to it may have come to a desk without a session, and been lost.
    const has = word.loan !== undefined && word.loan === ledger.loans.get(from);
    const loan = alone && !has ? this.#lend(ledger, from) : undefined;
    return { status: 'granted', epoch, loan };
  }

  #lend(ledger: Ledger, to: number): Loan {
    const loan = { id: this.#nextEpoch(), levels: ledger.budget.levels(this.#clock.monotonic()) };
    ledger.loans.set(to, loan.id);
    return loan;
  }

  /** Lost with the link, the loan is found missing when the desk attaches again. */
  #lendBack(ledger: Ledger, to: number): void {
    const { principal } = ledger;
    this.#peers.notify(to, 'lend', { principal, loan: this.#lend(ledger, to) });
  }

  /** After this the session has ended, or it has to be tried again. */
  async #evict(
    ledger: Ledger,
    { clientId, slot, epoch }: OwnedSession,
    deadline: number,
  ): Promise<void> {
    if (this.#absent(ledger, slot)) return;
    const { principal } = ledger;
    await this.#said(slot, 'evict', { principal, clientId, epoch }, deadline, (loan) => {
      this.#returned(ledger, slot, loan);
      ledger.endSession(clientId, slot, epoch);
    });
  }

  async #recall(ledger: Ledger, slot: number, deadline: number): Promise<void> {
    const loan = ledger.loans.get(slot);
    if (loan === undefined || this.#absent(ledger, slot)) return;
    const { principal } = ledger;
    ledger.recalled.add(slot);
    await this.#said(slot, 'recall', { principal, loan }, deadline, (returned) => {
      this.#returned(ledger, slot, returned);
      // It had gone back already, and what it said then has been heard: the copy goes on.
      if (ledger.loans.get(slot) === loan) ledger.loans.delete(slot);
    });
    ledger.recalled.delete(slot);
    this.#answerAsks(ledger);
  }

  /** A worker that is gone has no session and no budget. */
  #absent(ledger: Ledger, slot: number): boolean {
    if (this.#present(slot)) return false;
    ledger.forgetWorker(slot);
    this.#answerAsks(ledger);
    return true;
  }

  /**
   * Asks a worker. `heard` is called before anything that the worker says after its answer is looked at: a question
   * about the budget that it has just given back must find it here. When it does not answer, waits for a change, so
   * that whoever asks again does so at leisure.
   */
  async #said(
    slot: number,
    type: string,
    body: object,
    deadline: number,
    heard: (loan: Loan | undefined) => void,
  ): Promise<void> {
    const now = this.#clock.monotonic();
    const answered = await new Promise<boolean>((resolve) => {
      const limitMs = Math.max(0, Math.min(deadline - now, wordMs));
      this.#peers.call(slot, type, body, limitMs, (reply) => {
        const parsed = reply === undefined ? undefined : parseReturned(reply);
        if (parsed !== undefined) heard(parsed.loan);
        else if (reply !== undefined) this.#peers.cut(slot, 'not a loan');
        resolve(reply !== undefined);
      });
    });
    if (!answered)
      await this.#change(this.#linked(slot) ? Math.min(deadline, now + pauseMs) : deadline);
  }

  #returned(ledger: Ledger, from: number, loan: Loan | undefined): void {
    if (loan === undefined) return;
    // Of whichever loan: what was spent was spent.
    ledger.budget.absorb(loan.levels, this.#clock.monotonic());
    if (ledger.loans.get(from) !== loan.id) return;
    ledger.loans.delete(from);
    this.#answerAsks(ledger);
  }

  #answerAsks(ledger: Ledger): void {
    if (ledger.loans.size > 0 || ledger.recalled.size > 0) return;
    for (const answer of ledger.waitingAsks.splice(0)) answer();
  }

  /** Lends to the only worker that serves, takes back from all when several do, lets go when nobody does. */
  #review(ledger: Ledger | undefined): void {
    if (ledger === undefined || ledger.queued > 0) return;
    const { principal } = ledger;
    if (!this.#isHome(principal) || !this.#knows(principal)) return;
    if (ledger.sessions.size === 0) {
      ledger.loans.clear();
      this.#answerAsks(ledger);
      if (ledger.forgettable(this.#clock.monotonic())) this.#ledgers.delete(principal);
      else this.#cooling.add(principal);
      return;
    }
    const alone = ledger.servingAlone();
    const borrower = ledger.borrowerInTheWayOf(alone);
    if (borrower !== undefined) {
      const deadline = this.#clock.monotonic() + maxClaimMs;
      ledger.enqueue(
        () => this.#recall(ledger, borrower, deadline),
        () => this.#review(this.#ledgers.get(principal)),
      );
    } else if (alone !== undefined && !ledger.lentTo(alone)) {
      this.#lendBack(ledger, alone);
    }
    this.#answerAsks(ledger);
  }

  #attach(from: number, { reset, identities }: AttachWord): void {
    if (reset) this.#forgetWorker(from);
    const now = this.#clock.monotonic();
    const draining = this.#peers.view?.slots.includes(this.#peers.slot) === false;
    for (const { principal, sessions, loan, levels } of identities) {
      this.#passOn(principal, levels);
      if (draining) continue;
      const ledger = this.#ledgerOf(principal);
      ledger.budget.absorb(levels, now);
      if (loan === undefined) ledger.loans.delete(from);
      else ledger.loans.set(from, loan);
      for (const session of sessions) this.#attachSession(ledger, from, session);
      if (ledger.sessions.size === 0) this.#cooling.add(principal);
      else this.#cooling.delete(principal);
      if (this.#knows(principal)) this.#review(ledger);
      else this.#settlement.touch(principal);
    }
  }

  /**
   * What is said to us about an identity whose home, as far as we know, is another: by a worker that knew less than we
   * do. Its sessions are attached there by their owners, its budget comes from us. If it knew more, no harm is done.
   */
  #passOn(principal: PrincipalName, levels: readonly BucketLevels[]): void {
    const { view, slot } = this.#peers;
    const home = view === undefined ? undefined : homeOf(principal, view.slots);
    if (home === undefined || home === slot || levels.length === 0) return;
    const one: Attached = { principal, sessions: [], loan: undefined, levels };
    if (this.#peers.notify(home, 'attach', { reset: false, identities: [one] })) return;
    // Not linked yet: handed over when it is.
    this.#ledgerOf(principal).budget.absorb(levels, this.#clock.monotonic());
    this.#cooling.add(principal);
  }

  /** Two owners of one session: the newer one stays. */
  #attachSession(ledger: Ledger, from: number, [clientId, epoch, remote]: AttachedSession): void {
    this.#epoch = Math.max(this.#epoch, epoch);
    const { principal } = ledger;
    const other = ledger.sessions.get(clientId);
    const newer = other === undefined || other.slot === from || other.epoch < epoch;
    const loser = newer ? other : { slot: from, epoch };
    if (newer) {
      ledger.sessions.set(clientId, { clientId, slot: from, epoch, claim: undefined, remote });
    }
    if (loser === undefined || (newer && loser.slot === from)) return;
    const body = { principal, clientId, epoch: loser.epoch };
    this.#peers.call(loser.slot, 'evict', body, wordMs, (reply) => {
      const parsed = reply === undefined ? undefined : parseReturned(reply);
      const now = this.#ledgers.get(principal);
      if (parsed === undefined || now === undefined) return;
      this.#returned(now, loser.slot, parsed.loan);
      this.#review(now);
    });
  }

  #handOver(slot: number, ledgers: readonly Ledger[]): void {
    if (slot !== this.#peers.slot && !this.#peers.linked.has(slot)) return;
    const now = this.#clock.monotonic();
    for (let at = 0; at < ledgers.length; at += attachedPerWord) {
      const identities: Attached[] = [];
      for (const ledger of ledgers.slice(at, at + attachedPerWord)) {
        const { principal, budget } = ledger;
        this.#ledgers.delete(principal);
        this.#cooling.delete(principal);
        // The new home would say no to them: here it is said at once.
        for (const answer of ledger.waitingAsks.splice(0)) answer();
        const levels = budget.levels(now);
        if (levels.length > 0)
          identities.push({ principal, sessions: [], loan: undefined, levels });
      }
      this.#peers.notify(slot, 'attach', { reset: false, identities });
    }
  }

  #saidAll(slot: number, view: View): void {
    this.#peers.notify(slot, 'attached', { view: view.id, part: 'home' });
  }

  #settle(): void {
    const { view, slot: self, linked } = this.#peers;
    if (view !== undefined && this.#settlement.flush(linked)) {
      // Every desk has said all: what was on its way to us as an old home has been passed on before this.
      for (const slot of [self, ...linked]) this.#saidAll(slot, view);
    }
    const touched = this.#settlement.settle(linked);
    if (view === undefined || touched === undefined) return;
    for (const principal of touched) {
      const ledger = this.#ledgers.get(principal);
      const home = homeOf(principal, view.slots);
      if (ledger === undefined || home === undefined) continue;
      // Attached under an earlier view, by a worker that had not heard of this one yet.
      if (home === this.#peers.slot) this.#review(ledger);
      else this.#handOver(home, [ledger]);
    }
    this.#wake();
  }

  #forgetWorker(slot: number): void {
    for (const ledger of this.#ledgers.values()) {
      if (!ledger.forgetWorker(slot)) continue;
      if (this.#knows(ledger.principal)) this.#review(ledger);
      else this.#settlement.touch(ledger.principal);
    }
  }

  #ledgerOf(principal: PrincipalName): Ledger {
    let ledger = this.#ledgers.get(principal);
    if (ledger === undefined) {
      ledger = new Ledger(principal);
      this.#ledgers.set(principal, ledger);
    }
    return ledger;
  }

  #isHome(principal: PrincipalName): boolean {
    const { view, slot } = this.#peers;
    return view !== undefined && homeOf(principal, view.slots) === slot;
  }

  #knows(principal: PrincipalName): boolean {
    return this.#settlement.knows(principal);
  }

  #linked(slot: number): boolean {
    return slot === this.#peers.slot || this.#peers.linked.has(slot);
  }

  /** Whether the worker's process may still be there. */
  #present(slot: number): boolean {
    return this.#linked(slot) || this.#peers.view?.slots.includes(slot) === true;
  }

  #nextEpoch(): number {
    this.#epoch = Math.max(this.#epoch + 1, Math.floor(this.#clock.now()) * epochsPerMs);
    return this.#epoch;
  }

  /** Resolves when members, links or settlements change, or at the deadline. */
  #change(deadline: number): Promise<void> {
    const leftMs = Math.max(0, deadline - this.#clock.monotonic());
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, leftMs);
      this.#waiting.add(done);
    });
  }

  #wake(): void {
    for (const done of this.#waiting) done();
  }
}
