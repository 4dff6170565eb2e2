/**
 * Messages between workers. Each announces the filters that its subscribers want; a message goes to the workers whose
 * filters match it, gathered per peer and turn of the event loop, and is handed over in memory.
 */
import { SallyportError } from '../../common/base/errors.ts';
import { filterProblem } from '../../common/base/topic-filter.ts';
import type { Message } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import type { Crossing } from '../broker/ports.ts';
import { TopicTree } from '../broker/topic-tree.ts';
import { maxFrameBytes } from './peer-link.ts';
import type { PeerListener, Peers, View } from './ports.ts';

/** How long a SUBACK waits for the others to have heard of its filters. */
const settleMs = 1_000;
/** An announcement that is not acknowledged by then never will be: the link is made anew. */
const announceMs = 10_000;
const filtersPerWord = 500;
/** Filters that one peer may want: a hundred times what a worker has sessions for. */
const maxFilters = 4_000_000;
/** A batch of this size does not wait for the end of the turn. */
const batchBytes = 1024 * 1024;
/** With room for the header of the frame. */
const maxBatchBytes = maxFrameBytes - 64;
const lengthBytes = 4;
const nobody: readonly number[] = Object.freeze([]);

interface Peer {
  /** What it wants. */
  readonly filters: Set<string>;
  /** Counts our changes of interest; it has acknowledged all up to this one. */
  acknowledged: number;
  batch: Buffer[];
  batchBytes: number;
}

interface Waiter {
  readonly change: number;
  readonly done: () => void;
}

export class MeshCrossing implements Crossing, PeerListener {
  onMessage: (message: Message) => void = () => {};
  readonly #peers: Peers;
  readonly #bySlot = new Map<number, Peer>();
  readonly #wanted = new TopicTree<number, true>();
  /** What we want: filter → how often it was added. */
  readonly #interest = new Map<string, number>();
  /** Not announced yet: filter → whether we want it. */
  #news = new Map<string, boolean>();
  #change = 0;
  readonly #waiters = new Set<Waiter>();
  #batched: number[] = [];
  #dropped = 0;

  constructor(peers: Peers) {
    this.#peers = peers;
    peers.listen(this);
    peers.handle('interest', (from, body, reply) => {
      this.#heard(from, body);
      reply({});
    });
    peers.onBatch = (from, batch) => this.#received(from, batch);
  }

  /** Messages that were too large to cross, or whose peer was gone before they could. */
  get dropped(): number {
    return this.#dropped;
  }

  addInterest(filter: string): void {
    const count = this.#interest.get(filter) ?? 0;
    this.#interest.set(filter, count + 1);
    if (count === 0) this.#changed(filter, true);
  }

  dropInterest(filter: string): void {
    const count = this.#interest.get(filter) ?? 0;
    if (count > 1) {
      this.#interest.set(filter, count - 1);
    } else if (count === 1) {
      this.#interest.delete(filter);
      this.#changed(filter, false);
    }
  }

  wanting(topic: string): readonly number[] {
    if (this.#wanted.size === 0) return nobody;
    const found = this.#wanted.match(topic);
    if (found.length === 0) return nobody;
    if (found.length === 1) return [...(found[0]?.keys() ?? [])];
    const slots = new Set<number>();
    for (const members of found) for (const slot of members.keys()) slots.add(slot);
    return [...slots];
  }

  send(slots: readonly number[], message: Message): void {
    const bytes = encodeMessage(message);
    const length = Buffer.allocUnsafe(lengthBytes);
    length.writeUInt32BE(bytes.length);
    const framed = lengthBytes + bytes.length;
    if (framed > maxBatchBytes) {
      this.#dropped += slots.length;
      return;
    }
    for (const slot of slots) {
      const peer = this.#bySlot.get(slot);
      if (peer === undefined) {
        this.#dropped += 1;
        continue;
      }
      if (peer.batchBytes + framed > maxBatchBytes) this.#flush(slot, peer);
      if (peer.batch.length === 0) this.#schedule(slot);
      peer.batch.push(length, bytes);
      peer.batchBytes += framed;
      if (peer.batchBytes >= batchBytes) this.#flush(slot, peer);
    }
  }

  /**
   * Resolves when every live worker has acknowledged what was announced so far, so that nothing published there from
   * now on is missed; or after a second, when one does not answer.
   */
  interestSettled(): Promise<void> {
    this.#announce();
    const change = this.#change;
    if (this.#settled(change)) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => waiter.done(), settleMs);
      const waiter: Waiter = {
        change,
        done: () => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve();
        },
      };
      this.#waiters.add(waiter);
    });
  }

  onUp(slot: number): void {
    this.#forget(slot);
    this.#bySlot.set(slot, { filters: new Set(), acknowledged: -1, batch: [], batchBytes: 0 });
    this.#announce();
    const filters = [...this.#interest.keys()];
    let at = 0;
    do {
      const add = filters.slice(at, at + filtersPerWord);
      const last = at + filtersPerWord >= filters.length;
      this.#tell(slot, { reset: at === 0, add, drop: [] }, last ? this.#change : -1);
      at += filtersPerWord;
    } while (at < filters.length);
  }

  onDown(slot: number): void {
    this.#forget(slot);
    this.#wake();
  }

  onView(_view: View): void {
    this.#wake();
  }

  #changed(filter: string, wanted: boolean): void {
    this.#change += 1;
    if (this.#news.size === 0) setImmediate(() => this.#announce());
    this.#news.set(filter, wanted);
  }

  #announce(): void {
    if (this.#news.size === 0) return;
    const news = [...this.#news];
    this.#news = new Map();
    for (let at = 0; at < news.length; at += filtersPerWord) {
      const part = news.slice(at, at + filtersPerWord);
      const add = part.filter(([, wanted]) => wanted).map(([filter]) => filter);
      const drop = part.filter(([, wanted]) => !wanted).map(([filter]) => filter);
      const last = at + filtersPerWord >= news.length;
      for (const slot of this.#bySlot.keys()) {
        this.#tell(slot, { reset: false, add, drop }, last ? this.#change : -1);
      }
    }
  }

  #tell(slot: number, body: object, change: number): void {
    const peer = this.#bySlot.get(slot);
    this.#peers.call(slot, 'interest', body, announceMs, (reply) => {
      // With the end of a link comes a new peer, and all is told again.
      if (peer === undefined || this.#bySlot.get(slot) !== peer) return;
      if (reply === undefined) {
        this.#peers.cut(slot, 'interest was not acknowledged');
        return;
      }
      peer.acknowledged = Math.max(peer.acknowledged, change);
      this.#wake();
    });
  }

  #settled(change: number): boolean {
    for (const peer of this.#bySlot.values()) {
      if (peer.acknowledged < change) return false;
    }
    const { view, slot: self } = this.#peers;
    return view?.slots.every((slot) => slot === self || this.#bySlot.has(slot)) ?? true;
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (this.#settled(waiter.change)) waiter.done();
    }
  }

  #heard(from: number, body: unknown): void {
    const peer = this.#bySlot.get(from);
    const news = parseInterest(body);
    if (peer === undefined) return;
    if (news === undefined || peer.filters.size + news.add.length > maxFilters) {
      this.#peers.cut(from, 'interest that is none');
      return;
    }
    if (news.reset) this.#unwant(from, peer);
    for (const filter of news.add) {
      peer.filters.add(filter);
      this.#wanted.set(filter, from, true);
    }
    for (const filter of news.drop) {
      if (peer.filters.delete(filter)) this.#wanted.delete(filter, from);
    }
  }

  #forget(slot: number): void {
    const peer = this.#bySlot.get(slot);
    if (peer === undefined) return;
    this.#dropped += peer.batch.length / 2;
    this.#bySlot.delete(slot);
    this.#unwant(slot, peer);
  }

  #unwant(slot: number, peer: Peer): void {
    for (const filter of peer.filters) this.#wanted.delete(filter, slot);
    peer.filters.clear();
  }

  #schedule(slot: number): void {
    this.#batched.push(slot);
    if (this.#batched.length > 1) return;
    setImmediate(() => {
      const slots = this.#batched;
      this.#batched = [];
      for (const each of slots) {
        const peer = this.#bySlot.get(each);
        if (peer !== undefined) this.#flush(each, peer);
      }
    });
  }

  #flush(slot: number, peer: Peer): void {
    if (peer.batch.length === 0) return;
    const joined = Buffer.concat(peer.batch, peer.batchBytes);
    peer.batch = [];
    peer.batchBytes = 0;
    this.#peers.sendBatch(slot, joined);
  }

  #received(from: number, batch: Buffer): void {
    try {
      let at = 0;
      while (at < batch.length) {
        const start = at + lengthBytes;
        const end = start + batch.readUInt32BE(at);
        if (end > batch.length) throw new SallyportError('invalid-frame', 'batch cut short');
        // A copy: a slice would pin the read buffer as long as anyone keeps the message.
        this.onMessage(decodeMessage(Buffer.from(batch.subarray(start, end))));
        at = end;
      }
    } catch (error) {
      if (!(error instanceof SallyportError || error instanceof RangeError)) throw error;
      this.#peers.cut(from, 'messages that are none');
    }
  }
}

interface Interest {
  readonly reset: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
}

function parseInterest(body: unknown): Interest | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { reset, add, drop }: Partial<Record<string, unknown>> = { ...body };
  if (typeof reset !== 'boolean' || !isFilters(add) || !isFilters(drop)) return undefined;
  return { reset, add, drop };
}

function isFilters(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length <= filtersPerWord &&
    value.every((each) => typeof each === 'string' && filterProblem(each) === undefined)
  );
}
