/**
 * Sends snapshots and deltas to the workers and knows which of them hold what. A change of standing is done when every
 * worker that serves has acknowledged it or has been killed: that is what lets `device revoke` promise something.
 */
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { frameKinds } from '../../common/ipc/frames.ts';
import type { ControlToWorker, Member } from '../../common/ipc/messages.ts';
import type { Snapshot, SnapshotChange } from '../../common/ipc/snapshot.ts';

/** A worker that has not acknowledged after this is killed. */
const acknowledgeMs = 2_000;
/**
 * The same for changes that take nothing from anybody: a worker to which a fleet comes back may be late by seconds, and
 * somebody new is not worth the sessions that it holds. One that is stopped is killed by the supervisor all the same.
 */
export const additionMs = 10_000;
/** The same for one that is still loading its modules: it serves nobody yet. */
const startMs = 20_000;
/** How often workers are told that what they have is still current. */
const confirmMs = 5_000;
const requestedEveryMs = 1_000;
/** Changes that are sent together: a delta stays small, whatever comes in one turn. */
const maxGathered = 100;

export interface PublisherPorts {
  readonly clock: Clock;
  readonly broadcast: (kind: number, epoch: number, seq: number, message: ControlToWorker) => void;
  readonly kill: (member: Member) => void;
  readonly buildSnapshot: () => Snapshot;
  readonly later: (ms: number, action: () => void) => () => void;
  /** Once the events that are waiting now have been handled. */
  readonly soon: (action: () => void) => void;
}

export interface Acknowledgement {
  readonly acknowledged: number;
  readonly killed: number;
}

interface WorkerState {
  readonly member: Member;
  /** Last seq of this epoch that it has applied; -1 before the first. */
  seq: number;
  readonly since: number;
  killed: boolean;
}

interface Waiter {
  readonly seq: number;
  readonly waitingFor: Set<string>;
  acknowledged: number;
  killed: number;
  readonly resolve: (result: Acknowledgement) => void;
}

/** Additions that wait for the others of their turn. */
interface Gathering {
  readonly changes: SnapshotChange[];
  readonly told: PromiseWithResolvers<Acknowledgement>;
}

export class SnapshotPublisher {
  readonly #ports: PublisherPorts;
  readonly #epoch: number;
  readonly #workers = new Map<string, WorkerState>();
  readonly #waiters = new Set<Waiter>();
  #seq = 0;
  #hasSnapshot = false;
  #requested = false;
  #gathering: Gathering | undefined;
  #publishedAt = Number.NEGATIVE_INFINITY;

  /** @param epoch one number per life of control, greater than every earlier one. */
  constructor(epoch: number, ports: PublisherPorts) {
    this.#epoch = epoch;
    this.#ports = ports;
  }

  get position(): { readonly epoch: number; readonly seq: number } {
    return { epoch: this.#epoch, seq: this.#seq };
  }

  acknowledgedSeq(slot: number): number {
    for (const worker of this.#workers.values()) if (worker.member.slot === slot) return worker.seq;
    return -1;
  }

  /** A fresh snapshot for everybody, under the next seq: a worker that missed nothing takes it as well. */
  publishSnapshot(): void {
    this.#sendGathered();
    // Built first: one that cannot be built must leave no gap.
    const snapshot = this.#ports.buildSnapshot();
    this.#seq += 1;
    this.#hasSnapshot = true;
    this.#publishedAt = this.#ports.clock.monotonic();
    this.#broadcast(frameKinds.snapshot, {
      type: 'snapshot',
      issuedAt: this.#ports.clock.now(),
      snapshot,
    });
  }

  /** The same when somebody asks for it: several who ask at once get one, and nobody more than one a second. */
  requestSnapshot(): void {
    if (this.#requested) return;
    this.#requested = true;
    const sinceMs = this.#ports.clock.monotonic() - this.#publishedAt;
    this.#ports.later(Math.max(0, requestedEveryMs - sinceMs), () => {
      this.#requested = false;
      this.publishSnapshot();
    });
  }

  /**
   * Resolves when every worker there is has applied the changes or is gone.
   *
   * @param limitMs for a worker to acknowledge them before it is killed.
   */
  async publish(
    changes: readonly SnapshotChange[],
    limitMs = acknowledgeMs,
  ): Promise<Acknowledgement> {
    if (changes.length === 0) return { acknowledged: 0, killed: 0 };
    // What was gathered came first: sent later, it would undo what is taken away now.
    this.#sendGathered();
    return this.#send(changes, limitMs);
  }

  /**
   * As `publish`, for what takes nothing from anybody: everything of one turn of the event loop goes out as one delta,
   * which halves what a certificate costs supervisor and workers when eight are asked for at once.
   */
  async publishAddition(changes: readonly SnapshotChange[]): Promise<Acknowledgement> {
    if (this.#gathering === undefined) {
      this.#gathering = { changes: [], told: Promise.withResolvers() };
      this.#ports.soon(() => this.#sendGathered());
    }
    const { changes: gathered, told } = this.#gathering;
    gathered.push(...changes);
    if (gathered.length >= maxGathered) this.#sendGathered();
    return told.promise;
  }

  #sendGathered(): void {
    const gathering = this.#gathering;
    if (gathering === undefined) return;
    this.#gathering = undefined;
    // What it throws is for those who wait, and not for whoever comes along.
    gathering.told.resolve(this.#send(gathering.changes, additionMs));
  }

  async #send(changes: readonly SnapshotChange[], limitMs: number): Promise<Acknowledgement> {
    if (!this.#hasSnapshot)
      throw new SallyportError('internal', 'a delta before the first snapshot');
    this.#seq += 1;
    this.#broadcast(frameKinds.delta, {
      type: 'delta',
      issuedAt: this.#ports.clock.now(),
      changes,
    });
    return this.#acknowledgementOf(this.#seq, limitMs);
  }

  /** Starts telling the workers, again and again, that what they have is current. @returns how to stop it. */
  keepConfirming(): () => void {
    let cancel: () => void = () => {};
    const confirm = (): void => {
      this.#broadcast(frameKinds.current, { type: 'current', issuedAt: this.#ports.clock.now() });
      cancel = this.#ports.later(confirmMs, confirm);
    };
    cancel = this.#ports.later(confirmMs, confirm);
    return () => cancel();
  }

  setMembers(members: readonly Member[]): void {
    const present = new Set(members.map(keyOf));
    for (const [key, worker] of this.#workers) if (!present.has(key)) this.#gone(key, worker);
    for (const member of members) {
      const key = keyOf(member);
      if (this.#workers.has(key)) continue;
      this.#workers.set(key, {
        member,
        seq: -1,
        since: this.#ports.clock.monotonic(),
        killed: false,
      });
    }
  }

  workerGone(slot: number, generation: number): void {
    const key = keyOf({ slot, generation });
    const worker = this.#workers.get(key);
    if (worker !== undefined) this.#gone(key, worker);
  }

  /**
   * From a worker, so untrusted: it can only speak for its own slot, which the supervisor stamps. A lie costs the
   * promise for that worker alone, which could serve whom it likes anyway.
   */
  acknowledged(slot: number, epoch: number, seq: number): void {
    if (epoch !== this.#epoch || !Number.isSafeInteger(seq) || seq > this.#seq) return;
    for (const [key, worker] of this.#workers) {
      if (worker.member.slot !== slot || seq <= worker.seq) continue;
      worker.seq = seq;
      for (const waiter of this.#waiters) {
        if (seq >= waiter.seq && waiter.waitingFor.delete(key)) waiter.acknowledged += 1;
        this.#settle(waiter);
      }
    }
  }

  #acknowledgementOf(seq: number, limitMs: number): Promise<Acknowledgement> {
    return new Promise((resolve) => {
      const waitingFor = new Set(this.#workers.keys());
      const waiter: Waiter = { seq, waitingFor, acknowledged: 0, killed: 0, resolve };
      this.#waiters.add(waiter);
      this.#ports.later(limitMs, () => this.#overdue(waiter));
      this.#settle(waiter);
    });
  }

  #overdue(waiter: Waiter): void {
    if (!this.#waiters.has(waiter)) return;
    const now = this.#ports.clock.monotonic();
    for (const key of waiter.waitingFor) {
      const worker = this.#workers.get(key);
      if (worker === undefined || worker.killed) continue;
      if (worker.seq < 0 && now - worker.since < startMs) continue;
      worker.killed = true;
      this.#ports.kill(worker.member);
    }
    this.#ports.later(acknowledgeMs, () => this.#overdue(waiter));
  }

  #gone(key: string, worker: WorkerState): void {
    this.#workers.delete(key);
    for (const waiter of this.#waiters) {
      if (waiter.waitingFor.delete(key) && worker.killed) waiter.killed += 1;
      this.#settle(waiter);
    }
  }

  #settle(waiter: Waiter): void {
    if (waiter.waitingFor.size > 0 || !this.#waiters.delete(waiter)) return;
    waiter.resolve({ acknowledged: waiter.acknowledged, killed: waiter.killed });
  }

  #broadcast(kind: number, message: ControlToWorker): void {
    if (!this.#hasSnapshot)
      throw new SallyportError('internal', 'a delta before the first snapshot');
    this.#ports.broadcast(kind, this.#epoch, this.#seq, message);
  }
}

function keyOf(member: Pick<Member, 'slot' | 'generation'>): string {
  return `${member.slot}/${member.generation}`;
}
