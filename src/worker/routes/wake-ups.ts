/**
 * Tells the workers that deliver a lane that there is something new in it: one word for each of them, at most every few
 * milliseconds. A word that is lost costs time and nothing else: lanes look by themselves once a second.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { Peers } from '../peering/ports.ts';
import { partitions } from './partition.ts';
import type { Timers } from './ports.ts';

const wordType = 'spooled';
const restMs = 5;
/** A spool has 256 lanes at most; what is beyond this is left to the lanes' own looking. */
const maxPerWord = 4_096;

export type WakeLane = (spool: string, partition: number, messages: number) => void;

/** Spool, a partition of the lane, how many messages. */
type Wake = readonly [spool: string, partition: number, messages: number];

interface Pending {
  /** By spool and partition. */
  readonly wakes: Map<string, Wake>;
  resting: boolean;
}

export class WakeUps {
  readonly #peers: Peers;
  readonly #timers: Timers;
  /** By slot; there are as many as workers. */
  readonly #pending = new Map<number, Pending>();

  constructor(peers: Peers, timers: Timers, wake: WakeLane) {
    this.#peers = peers;
    this.#timers = timers;
    peers.handle(wordType, (_from, body) => {
      for (const [spool, partition, messages] of parseWakes(body)) wake(spool, partition, messages);
    });
  }

  add(slot: number, spool: string, partition: number, messages: number): void {
    let pending = this.#pending.get(slot);
    if (pending === undefined) {
      pending = { wakes: new Map(), resting: false };
      this.#pending.set(slot, pending);
    }
    const key = `${partition} ${spool}`;
    const before = pending.wakes.get(key)?.[2] ?? 0;
    if (before > 0 || pending.wakes.size < maxPerWord) {
      pending.wakes.set(key, [spool, partition, before + messages]);
    }
    if (!pending.resting) this.#rest(slot, pending, 0);
  }

  /** The slots that there are; nothing is kept for others. */
  keep(slots: readonly number[]): void {
    for (const slot of this.#pending.keys()) {
      if (!slots.includes(slot)) this.#pending.delete(slot);
    }
  }

  #rest(slot: number, pending: Pending, ms: number): void {
    pending.resting = true;
    this.#timers.after(ms, () => {
      pending.resting = false;
      if (pending.wakes.size === 0) return;
      this.#peers.notify(slot, wordType, { wakes: [...pending.wakes.values()] });
      pending.wakes.clear();
      this.#rest(slot, pending, restMs);
    });
  }
}

/** @throws SallyportError `invalid-frame`, for which the mesh cuts the peer. */
function parseWakes(body: unknown): readonly Wake[] {
  const wakes = typeof body === 'object' && body !== null && 'wakes' in body ? body.wakes : [];
  if (!Array.isArray(wakes) || wakes.length > maxPerWord) throw unfit();
  return wakes.map((wake: unknown): Wake => {
    if (!Array.isArray(wake)) throw unfit();
    const [spool, partition, messages] = wake as readonly unknown[];
    if (typeof spool !== 'string' || !isCount(partition) || partition >= partitions) throw unfit();
    if (!isCount(messages)) throw unfit();
    return [spool, partition, messages];
  });
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function unfit(): SallyportError {
  return new SallyportError('invalid-frame', 'a word about spools that does not fit');
}
