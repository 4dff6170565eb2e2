/**
 * What a worker tells all others and has to know heard: which topics it wants, which of its sessions share a
 * subscription, which sessions have changed. Gathered per turn of the event loop, acknowledged by every peer; a peer
 * whose link is new is told all there is.
 */
import type { PeerListener, Peers, View } from './ports.ts';

/** How long a SUBACK waits for the others to have heard of its filters. */
const settleMs = 1_000;
/** An announcement that is not acknowledged by then never will be: the link is made anew. */
const announceMs = 10_000;

/** One kind of news. */
export interface NewsKind {
  /** Of the words that carry it. */
  readonly type: string;
  /** What has changed since it was last asked, in words that each fit a frame. */
  news(): readonly object[];
  /** All there is, in such words, for a peer that knows nothing. */
  whole(): readonly object[];
  /** @returns false, or resolves to it, for a word that is none; the peer knows that it was heard when it resolves. */
  heard(from: number, word: unknown): boolean | Promise<boolean>;
  /** What the peer has told is void. */
  forget(from: number): void;
}

interface Told {
  /** Counts our changes: all up to this one. */
  readonly change: number;
  /** Words of it that are not acknowledged. */
  open: number;
}

interface Peer {
  /** It has acknowledged all changes up to this one. */
  acknowledged: number;
  /** In the order of the changes. The acknowledgements of what takes long are overtaken by others. */
  readonly told: Told[];
}

interface Waiter {
  readonly change: number;
  readonly done: () => void;
}

export class Announcements implements PeerListener {
  /** Somebody was waited for in vain, and has heard everything now: what he sent meanwhile went past this worker. */
  onLateSettled: () => void = () => {};
  readonly #peers: Peers;
  readonly #kinds: NewsKind[] = [];
  readonly #bySlot = new Map<number, Peer>();
  readonly #waiters = new Set<Waiter>();
  #change = 0;
  #scheduled = false;
  /** The last change that was not waited for until the end. */
  #late: number | undefined;

  constructor(peers: Peers) {
    this.#peers = peers;
    peers.listen(this);
  }

  add(kind: NewsKind): void {
    this.#kinds.push(kind);
    this.#peers.handle(kind.type, (from, word, reply) => {
      // Heard over a link of which this side knows that it has ended.
      if (!this.#bySlot.has(from)) return;
      const heard = kind.heard(from, word);
      if (heard === true) reply({});
      else if (heard === false) this.#peers.cut(from, `${kind.type} that is none`);
      else void this.#acknowledge(heard, kind, from, reply);
    });
  }

  /** One of the kinds has news. */
  changed(): void {
    this.#change += 1;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#announce());
  }

  /** Resolves when every live worker has acknowledged what there is so far; or after a second. */
  settled(): Promise<void> {
    const change = this.#change;
    if (this.#isSettled(change)) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#late = change;
        waiter.done();
      }, settleMs);
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
    this.#announce();
    for (const kind of this.#kinds) kind.forget(slot);
    this.#bySlot.set(slot, { acknowledged: -1, told: [] });
    this.#tell(
      slot,
      this.#kinds.map((kind) => [kind, kind.whole()] as const),
    );
  }

  onDown(slot: number): void {
    this.#bySlot.delete(slot);
    for (const kind of this.#kinds) kind.forget(slot);
    this.#wake();
  }

  onView(_view: View): void {
    this.#wake();
  }

  async #acknowledge(
    heard: Promise<boolean>,
    kind: NewsKind,
    from: number,
    reply: (body: object) => void,
  ): Promise<void> {
    const peer = this.#bySlot.get(from);
    const good = await heard;
    if (this.#bySlot.get(from) !== peer) return;
    if (good) reply({});
    else this.#peers.cut(from, `${kind.type} that is none`);
  }

  #announce(): void {
    this.#scheduled = false;
    const news = this.#kinds.map((kind) => [kind, kind.news()] as const);
    if (news.every(([, words]) => words.length === 0)) return;
    for (const slot of this.#bySlot.keys()) this.#tell(slot, news);
  }

  #tell(slot: number, news: readonly (readonly [NewsKind, readonly object[]])[]): void {
    const peer = this.#bySlot.get(slot);
    if (peer === undefined) return;
    const told: Told = { change: this.#change, open: 0 };
    peer.told.push(told);
    for (const [kind, words] of news) {
      for (const word of words) {
        told.open += 1;
        this.#peers.call(slot, kind.type, word, announceMs, (reply) => {
          // With the end of a link comes a new peer, and all is told again.
          if (this.#bySlot.get(slot) !== peer) return;
          told.open -= 1;
          if (reply === undefined) this.#peers.cut(slot, 'news were not acknowledged');
          else this.#acknowledged(peer);
        });
      }
    }
    this.#acknowledged(peer);
  }

  #acknowledged(peer: Peer): void {
    for (let next = peer.told[0]; next?.open === 0; next = peer.told[0]) {
      peer.acknowledged = next.change;
      peer.told.shift();
    }
    this.#wake();
  }

  #isSettled(change: number): boolean {
    for (const { acknowledged } of this.#bySlot.values()) if (acknowledged < change) return false;
    const { view, slot: self } = this.#peers;
    return view?.slots.every((slot) => slot === self || this.#bySlot.has(slot)) ?? true;
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (this.#isSettled(waiter.change)) waiter.done();
    }
    if (this.#late === undefined || !this.#isSettled(this.#late)) return;
    this.#late = undefined;
    this.onLateSettled();
  }
}
