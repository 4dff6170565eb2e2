/**
 * What this worker's connections talk to about identities: sessions are claimed here, at the identity's home, and the
 * rate budget that the home lends is spent here.
 *
 * While this worker is the only one that serves an identity it has the whole budget and answers at once. When another
 * one serves it too, the home takes the budget back and is asked for each message; when it cannot be, the answer is no.
 */
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { settledWithin } from '../../common/base/settled-within.ts';
import { sessionKey } from '../broker/session-key.ts';
import type { RateBucket, RateBudget } from '../policy/ports.ts';
import { HeardLevels } from './heard-levels.ts';
import { IdentityBudget } from './identity-budget.ts';
import type { BucketLevels } from './identity-budget.ts';
import type { PeerListener, Peers, View } from './ports.ts';
import { homeOf } from './rendezvous.ts';
import type { Attached, AttachedWord, AttachWord, ClaimWord, EvictWord, Loan } from './words.ts';
import {
  attachedPerWord,
  parseAskReply,
  parseClaimReply,
  parseEvict,
  parseLend,
  parseRecall,
} from './words.ts';

/** How long a claim may take, homes that move included. */
const claimMs = 3_000;
/** How long a session that is taken over may take to leave; shorter than its home waits for our answer. */
const leaveMs = 750;
const askMs = 1_000;
/** How often a session that is in use beside others is said to be: when its turn has come again, and anyway. */
const seenTurnMs = 1_000;
const seenAgainMs = 10_000;
/** Before a home that did not see itself as one is asked again: it learns of new members when we do. */
const retryMs = 25;
/** Claims under way, and questions about one identity: what more comes is refused. */
const maxClaims = 20_000;
const maxAsks = 64;
const maxOrphans = 10_000;

/** One session of an identity, held by this worker. */
export interface Claim {
  /** Unique among the sessions of all workers. */
  readonly key: string;
  /** Greater than that of any claim of the session before, whichever worker it was of. */
  readonly epoch: number;
  readonly rates: RateBudget;
  /** The session has ended. Does nothing for a session that was taken over. */
  release(): void;
}

interface Session {
  readonly epoch: number;
  /** The client's address; empty when it is not known. */
  readonly remote: string;
  /** When the home last heard that it is in use. */
  seenAt: number;
  readonly onTakenOver: TakenOver;
}

/** What is left of a session's state is stored when the promise resolves; it MUST NOT reject. */
type TakenOver = () => Promise<void> | undefined;

interface Identity {
  readonly principal: PrincipalName;
  readonly sessions: Map<string, Session>;
  readonly rates: RateBudget;
  /** Where it was claimed or attached last; undefined = nowhere that is known to have heard of it. */
  home: number | undefined;
  /** The loan that `budget` is; undefined = the home is asked. */
  loan: number | undefined;
  budget: IdentityBudget;
  /** What the home has said about it; undefined while it was never asked. */
  heard: HeardLevels | undefined;
  asks: number;
  /** Where it was used last, while it has several sessions. */
  lastRemote: string;
}

interface Evicted {
  /** What goes back to the home with the answer. */
  readonly loan: Loan | undefined;
  readonly leaving: Promise<void> | undefined;
}

/** A claim that is not decided. */
interface OpenClaim {
  readonly principal: PrincipalName;
  readonly clientId: string;
  readonly remote: string;
  readonly onTakenOver: TakenOver;
  readonly deadline: number;
  readonly resolve: (claim: Claim) => void;
  readonly reject: (error: SallyportError) => void;
  /** Set while it waits for a home. */
  retry: NodeJS.Timeout | undefined;
}

export interface IdentityDeskOptions {
  readonly peers: Peers;
  readonly clock: Clock;
}

export class IdentityDesk implements PeerListener {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #identities = new Map<PrincipalName, Identity>();
  /** Budgets without a session whose home is not there. */
  readonly #orphans = new Map<PrincipalName, readonly BucketLevels[]>();
  readonly #claims = new Set<OpenClaim>();
  /** Sessions, by key, that were taken over and whose state is not stored yet. */
  readonly #leaving = new Map<string, Promise<void>>();
  #claimedLast = 0;
  #closed = false;

  constructor({ peers, clock }: IdentityDeskOptions) {
    this.#peers = peers;
    this.#clock = clock;
    peers.listen(this);
    peers.handle('evict', (from, body, reply) => {
      const word = parseEvict(body);
      if (word === undefined) peers.cut(from, 'not an eviction');
      else this.#evict(word, reply);
    });
    peers.handle('recall', (from, body, reply) => {
      const word = parseRecall(body);
      if (word === undefined) peers.cut(from, 'not a recall');
      else reply({ loan: this.#recalled(word.principal, word.loan) });
    });
    peers.handle('lend', (from, body) => {
      const word = parseLend(body);
      if (word === undefined) peers.cut(from, 'not a loan');
      else this.#lent(from, word.principal, word.loan);
    });
  }

  /** Identities with a session here. */
  get size(): number {
    return this.#identities.size;
  }

  /**
   * Makes this worker the owner of the session (principal, client id). When this resolves, `onTakenOver` of an older
   * owner has settled, on whichever worker, or 750 ms have gone by. `onTakenOver` is called when a newer claim takes the
   * session, once, and not after `release`; it ends the connection and MUST NOT throw.
   *
   * @param remote the client's address; empty when it is not known.
   * @throws SallyportError `quota` when the identity has as many sessions as it may have; `rate` when it connects too
   * often; `busy` when its home does not answer within 3 s, or it is in use from another address and that is not allowed.
   */
  claim(
    principal: PrincipalName,
    clientId: string,
    onTakenOver: TakenOver,
    remote = '',
  ): Promise<Claim> {
    return new Promise((resolve, reject) => {
      if (this.#closed || this.#claims.size >= maxClaims) {
        reject(new SallyportError('busy', 'too many claims are under way'));
        return;
      }
      const claim: OpenClaim = {
        principal,
        clientId,
        remote,
        onTakenOver,
        deadline: this.#clock.monotonic() + claimMs,
        resolve,
        reject,
        retry: undefined,
      };
      this.#claims.add(claim);
      this.#try(claim);
    });
  }

  /** Open claims fail. */
  close(): void {
    this.#closed = true;
    for (const claim of this.#claims) this.#fail(claim, 'busy', 'this worker ends');
  }

  onUp(slot: number): void {
    const { view } = this.#peers;
    if (view !== undefined) {
      const its = [...this.#identities.values()].filter(
        ({ principal }) => homeOf(principal, view.slots) === slot,
      );
      this.#attach(slot, view, its, true);
    }
    this.#retryAll();
  }

  onDown(slot: number): void {
    for (const identity of this.#identities.values()) {
      if (identity.home === slot) identity.home = undefined;
    }
  }

  onView(view: View): void {
    // Those that are no members hear that this was all, too: they hand over as old homes what comes to them before.
    const everybody = [...view.slots, ...this.#peers.linked];
    const moved = new Map<number, Identity[]>(everybody.map((slot) => [slot, []]));
    for (const identity of this.#identities.values()) {
      const home = homeOf(identity.principal, view.slots);
      if (home === undefined || home === identity.home) continue;
      identity.home = undefined;
      moved.get(home)?.push(identity);
    }
    for (const [slot, identities] of moved) this.#attach(slot, view, identities, false);
    this.#retryAll();
  }

  #try(claim: OpenClaim): void {
    claim.retry = undefined;
    const leftMs = claim.deadline - this.#clock.monotonic();
    if (leftMs <= 0) {
      this.#fail(claim, 'busy', 'the home of the identity cannot be reached');
      return;
    }
    const home = this.#homeOf(claim.principal);
    if (home === undefined) {
      this.#later(claim, leftMs);
      return;
    }
    this.#claimedLast += 1;
    const word: ClaimWord = {
      principal: claim.principal,
      clientId: claim.clientId,
      claim: this.#claimedLast,
      loan: this.#identities.get(claim.principal)?.loan,
      remote: claim.remote,
      leftMs,
    };
    this.#peers.call(home, 'claim', word, leftMs, (reply) => {
      this.#answered(claim, home, word, reply);
    });
  }

  /** Tries again when the members change, and soon in any case. */
  #later(claim: OpenClaim, leftMs: number): void {
    claim.retry = setTimeout(() => this.#try(claim), Math.max(1, Math.min(leftMs, retryMs)));
  }

  #retryAll(): void {
    for (const claim of this.#claims) {
      if (claim.retry === undefined) continue;
      clearTimeout(claim.retry);
      this.#try(claim);
    }
  }

  #answered(claim: OpenClaim, home: number, word: ClaimWord, reply: unknown): void {
    const answer = parseClaimReply(reply);
    if (answer?.status === 'granted') {
      this.#granted(claim, home, answer.epoch, answer.loan);
      return;
    }
    const { principal, clientId } = word;
    // Granted after all, when nobody waits for it, it would count against the identity for ever.
    if (answer === undefined) {
      this.#peers.notify(home, 'cancel', { principal, clientId, claim: word.claim });
    }
    if (!this.#claims.has(claim)) return;
    if (answer?.status === 'quota') {
      this.#fail(claim, 'quota', 'limits.sessionsPerIdentity');
    } else if (answer?.status === 'busy') {
      this.#fail(claim, 'busy', 'the older session does not end');
    } else if (answer?.status === 'rate') {
      this.#fail(claim, 'rate', 'limits.connectsPerMinute');
    } else if (answer?.status === 'in-use') {
      this.#fail(claim, 'busy', 'the identity is in use from another address');
    } else {
      this.#later(claim, claim.deadline - this.#clock.monotonic());
    }
  }

  #granted(claim: OpenClaim, home: number, epoch: number, loan: Loan | undefined): void {
    const { principal, clientId } = claim;
    const wanted = this.#claims.delete(claim);
    const moved = this.#homeOf(principal) !== home;
    if (!wanted || moved) {
      this.#peers.notify(home, 'release', { principal, clientId, epoch, loan });
      if (!wanted) return;
      this.#claims.add(claim);
      this.#try(claim);
      return;
    }
    const identity = this.#identities.get(principal) ?? this.#newIdentity(principal);
    identity.home = home;
    if (loan !== undefined) this.#take(identity, loan);
    const { remote, onTakenOver } = claim;
    const seenAt = this.#clock.monotonic();
    const session: Session = { epoch, remote, seenAt, onTakenOver };
    identity.lastRemote = remote;
    identity.sessions.set(clientId, session);
    claim.resolve({
      key: sessionKey(principal, clientId),
      epoch,
      rates: {
        take: (buckets, cost) => {
          this.#inUse(identity, session);
          return identity.rates.take(buckets, cost);
        },
        levels: (buckets) => this.#levelsOf(identity, buckets),
      },
      release: () => this.#release(identity, clientId, session),
    });
  }

  #fail(claim: OpenClaim, code: 'busy' | 'quota' | 'rate', detail: string): void {
    clearTimeout(claim.retry);
    if (this.#claims.delete(claim)) claim.reject(new SallyportError(code, detail));
  }

  /**
   * What an identity does from several addresses at once is told its home, which knows of all its sessions. An identity
   * that is used here alone, and once, is passed over.
   */
  #inUse(identity: Identity, session: Session): void {
    const { principal, sessions, loan, home, lastRemote } = identity;
    if ((sessions.size <= 1 && loan !== undefined) || home === undefined) return;
    const { remote, seenAt } = session;
    const now = this.#clock.monotonic();
    if (now - seenAt < (remote === lastRemote ? seenAgainMs : seenTurnMs)) return;
    session.seenAt = now;
    identity.lastRemote = remote;
    this.#peers.notify(home, 'seen', { principal, remote });
  }

  #release(identity: Identity, clientId: string, session: Session): void {
    const loan = this.#end(identity, clientId, session);
    if (loan === false) return;
    const { principal, home } = identity;
    const { epoch } = session;
    const told =
      home !== undefined &&
      this.#peers.notify(home, 'release', { principal, clientId, epoch, loan });
    if (!told && loan !== undefined) this.#orphan(principal, loan.levels);
  }

  /** Between two homes there is nobody to give a budget back to: the next one gets it when it is attached. */
  #orphan(principal: PrincipalName, levels: readonly BucketLevels[]): void {
    if (levels.length === 0) return;
    const [oldest] = this.#orphans.keys();
    if (this.#orphans.size >= maxOrphans && oldest !== undefined) this.#orphans.delete(oldest);
    this.#orphans.set(principal, levels);
  }

  #evict(word: EvictWord, reply: (body: object) => void): void {
    const { loan, leaving } = this.#evicted(word);
    if (leaving === undefined) reply({ loan });
    else void settledWithin(leaving, leaveMs).then(() => reply({ loan }));
  }

  #evicted({ principal, clientId, epoch }: EvictWord): Evicted {
    const key = sessionKey(principal, clientId);
    const identity = this.#identities.get(principal);
    const session = identity?.sessions.get(clientId);
    if (identity === undefined || session === undefined || session.epoch > epoch) {
      // Asked again, before it has left.
      return { loan: undefined, leaving: this.#leaving.get(key) };
    }
    const loan = this.#end(identity, clientId, session);
    const leaving = session.onTakenOver();
    if (leaving !== undefined) {
      this.#leaving.set(key, leaving);
      void leaving.finally(() => {
        if (this.#leaving.get(key) === leaving) this.#leaving.delete(key);
      });
    }
    return { loan: loan === false ? undefined : loan, leaving };
  }

  /** @returns false when the session was not there any more, else the loan if it goes back now. */
  #end(identity: Identity, clientId: string, session: Session): Loan | undefined | false {
    if (identity.sessions.get(clientId) !== session) return false;
    identity.sessions.delete(clientId);
    if (identity.sessions.size > 0) return undefined;
    this.#identities.delete(identity.principal);
    return this.#giveBack(identity);
  }

  #recalled(principal: PrincipalName, loan: number): Loan | undefined {
    const identity = this.#identities.get(principal);
    return identity?.loan === loan ? this.#giveBack(identity) : undefined;
  }

  #lent(from: number, principal: PrincipalName, loan: Loan): void {
    const identity = this.#identities.get(principal);
    if (identity?.home === from) this.#take(identity, loan);
  }

  /** What is still there of an earlier loan counts on: the home lends anew when it cannot tell. */
  #take(identity: Identity, loan: Loan): void {
    identity.loan = loan.id;
    identity.budget.absorb(loan.levels, this.#clock.monotonic());
  }

  #giveBack(identity: Identity): Loan | undefined {
    const { loan, budget } = identity;
    if (loan === undefined) return undefined;
    identity.loan = undefined;
    identity.budget = new IdentityBudget();
    return { id: loan, levels: budget.levels(this.#clock.monotonic()) };
  }

  #newIdentity(principal: PrincipalName): Identity {
    const identity: Identity = {
      principal,
      sessions: new Map(),
      rates: { take: (buckets, cost) => this.#spend(identity, buckets, cost) },
      home: undefined,
      loan: undefined,
      budget: new IdentityBudget(),
      heard: undefined,
      asks: 0,
      lastRemote: '',
    };
    this.#identities.set(principal, identity);
    return identity;
  }

  #spend(
    identity: Identity,
    buckets: readonly RateBucket[],
    cost: number | readonly number[],
  ): boolean | Promise<boolean> {
    if (identity.loan !== undefined) {
      return identity.budget.take(buckets, cost, this.#clock.monotonic());
    }
    const { home, principal } = identity;
    if (home === undefined || identity.sessions.size === 0 || identity.asks >= maxAsks)
      return false;
    identity.asks += 1;
    return new Promise((resolve) => {
      this.#peers.call(home, 'ask', { principal, buckets, cost }, askMs, (reply) => {
        identity.asks -= 1;
        const { answer, levels } = parseAskReply(reply) ?? {};
        const now = this.#clock.monotonic();
        if (levels !== undefined) {
          identity.heard ??= new HeardLevels();
          identity.heard.note(buckets, levels, now);
        }
        // The loan came back while the question was on its way.
        const local = answer === 'local' && identity.loan !== undefined;
        resolve(local ? identity.budget.take(buckets, cost, now) : answer === 'yes');
      });
    });
  }

  #levelsOf(identity: Identity, buckets: readonly RateBucket[]): readonly number[] | undefined {
    const now = this.#clock.monotonic();
    return identity.loan === undefined
      ? identity.heard?.of(buckets, now)
      : identity.budget.levelsOf(buckets, now);
  }

  /** Tells a home what it is home to, in words of bounded size, and that this was all. */
  #attach(slot: number, view: View, identities: readonly Identity[], reset: boolean): void {
    if (slot !== this.#peers.slot && !this.#peers.linked.has(slot)) return;
    const all = identities.map((identity) => this.#attached(identity, slot));
    for (const [principal, levels] of this.#orphans) {
      if (homeOf(principal, view.slots) !== slot) continue;
      this.#orphans.delete(principal);
      all.push({ principal, sessions: [], loan: undefined, levels });
    }
    for (let at = 0; at < all.length || (reset && at === 0); at += attachedPerWord) {
      const part = all.slice(at, at + attachedPerWord);
      const word: AttachWord = { reset: reset && at === 0, identities: part };
      this.#peers.notify(slot, 'attach', word);
    }
    const end: AttachedWord = { view: view.id, part: 'desk' };
    this.#peers.notify(slot, 'attached', end);
  }

  #attached(identity: Identity, home: number): Attached {
    identity.home = home;
    const { principal, sessions, loan, budget } = identity;
    return {
      principal,
      sessions: [...sessions].map(([clientId, { epoch, remote }]) => [clientId, epoch, remote]),
      loan,
      levels: loan === undefined ? [] : budget.levels(this.#clock.monotonic()),
    };
  }

  #homeOf(principal: PrincipalName): number | undefined {
    const { view, slot, linked } = this.#peers;
    const home = view === undefined ? undefined : homeOf(principal, view.slots);
    return home === undefined || home === slot || linked.has(home) ? home : undefined;
  }
}
