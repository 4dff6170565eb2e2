/**
 * Messages between workers. Each announces the filters that its subscribers want and who takes part in shared
 * subscriptions; a message goes to the workers whose filters match it or whose session was picked, gathered per peer and
 * turn of the event loop, and is handed over in memory.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { Message } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import type { Crossing } from '../broker/ports.ts';
import { Announcements } from './announcements.ts';
import type { NewsKind } from './announcements.ts';
import { Interest } from './interest.ts';
import { Membership } from './membership.ts';
import { maxFrameBytes } from './peer-link.ts';
import type { PeerListener, Peers, View } from './ports.ts';

/** A batch of this size does not wait for the end of the turn. */
const batchBytes = 1024 * 1024;
/** With room for the header of the frame. */
const maxBatchBytes = maxFrameBytes - 64;
const lengthBytes = 4;

interface Peer {
  batch: Buffer[];
  batchBytes: number;
}

export class MeshCrossing implements Crossing, PeerListener {
  onMessage: (message: Message) => void = () => {};
  onGap: () => void = () => {};
  readonly #peers: Peers;
  readonly #announcements: Announcements;
  readonly #interest: Interest;
  readonly #membership: Membership;
  readonly #bySlot = new Map<number, Peer>();
  #batched: number[] = [];
  #dropped = 0;

  constructor(peers: Peers) {
    this.#peers = peers;
    this.#announcements = new Announcements(peers);
    const changed = (): void => this.#announcements.changed();
    this.#interest = new Interest(changed);
    this.#membership = new Membership(changed);
    this.#announcements.add(this.#interest);
    this.#announcements.add(this.#membership);
    this.#announcements.onLateSettled = () => this.onGap();
    peers.listen(this);
    peers.onBatch = (from, batch) => this.#received(from, batch);
  }

  get slot(): number {
    return this.#peers.slot;
  }

  /** Messages that were too large to cross, or whose peer was gone before they could. */
  get dropped(): number {
    return this.#dropped;
  }

  get onMember(): Crossing['onMember'] {
    return this.#membership.onMember;
  }

  set onMember(handler: Crossing['onMember']) {
    this.#membership.onMember = handler;
  }

  addInterest(filter: string): void {
    this.#interest.add(filter);
  }

  dropInterest(filter: string): void {
    this.#interest.drop(filter);
  }

  addMember(subscription: string, key: string): void {
    this.#membership.add(subscription, key);
  }

  dropMember(subscription: string, key: string): void {
    this.#membership.drop(subscription, key);
  }

  wanting(topic: string): readonly number[] {
    return this.#interest.wanting(topic);
  }

  /** Something else that everybody has to have heard before `interestSettled` resolves. */
  announce(kind: NewsKind): { readonly changed: () => void } {
    this.#announcements.add(kind);
    return { changed: () => this.#announcements.changed() };
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
    return this.#announcements.settled();
  }

  onUp(slot: number): void {
    this.#forget(slot);
    this.#bySlot.set(slot, { batch: [], batchBytes: 0 });
    this.onGap();
  }

  onDown(slot: number): void {
    this.#forget(slot);
    this.onGap();
  }

  onView(_view: View): void {}

  #forget(slot: number): void {
    const peer = this.#bySlot.get(slot);
    if (peer === undefined) return;
    this.#dropped += peer.batch.length / 2;
    this.#bySlot.delete(slot);
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
