/**
 * Messages of QoS 1 and 2 to the client of a durable session. Its queue, which the publisher's worker writes, says what
 * the client has still to get; what the broker delivers live saves reading it, as long as the client keeps up. So a
 * session has no queue in memory: what the client's receive maximum leaves no room for stays where it is.
 */
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type { QueuedId } from '../../broker/message.ts';
import type { InFlight, OwnedSession, QueuedMessage } from '../../broker/sessions.ts';
import { ExchangeSaving } from './exchange-saving.ts';
import type { Outbox } from './outbox.ts';

/** Messages read from the queue at once. */
const readAtOnce = 64;
/** With so many to be acknowledged the session itself adds no more to its queue, which is bounded. */
const addedAtOnce = 64;
const nothing: ReadonlySet<QueuedId> = new Set();

/** What the delivery sees of its session. */
export interface DurableTarget {
  readonly owned: OwnedSession;
  readonly outbox: Outbox;
  isClosed(): boolean;
  /** Puts a message into this session's own queue that is in none, or not in this one. */
  enqueue(message: Omit<QueuedMessage, 'id'>): Promise<void>;
  /**
   * @param again it was sent before: whether it has expired since says nothing (MQTT 5 §3.3.2.3.3).
   * @returns undefined when the client is not to have it, or cannot: then it is over for this session.
   */
  encode(message: QueuedMessage, again: boolean): EncodedPublish | undefined;
  /** One more goes out. */
  sent(): void;
  release(packetId: number): void;
  failed(error: unknown): void;
}

interface Begun {
  readonly packetId: number;
  readonly encoded: EncodedPublish;
}

export class DurableDelivery {
  readonly saving: ExchangeSaving;
  readonly #target: DurableTarget;
  /** From sending until the removal from the queue is committed; there once something was sent. */
  #given: Set<QueuedId> | undefined;
  /** In flight on an earlier connection and not sent again yet. */
  #owed: readonly InFlight[];
  /** The queue may hold what was not given. Until it is known not to, nothing is delivered live: it would overtake. */
  #behind = true;
  #running = false;
  #poked = false;
  /** The latest that was read from the queue: what comes live and is older may have come and gone. */
  #highest: QueuedId = '';
  /** Messages that this session itself has put into its queue since it had caught up. */
  #added = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(target: DurableTarget) {
    const { owned, outbox } = target;
    this.#target = target;
    this.saving = new ExchangeSaving(owned, outbox.exchanges);
    this.#owed = owned.inFlight;
    for (const inFlight of owned.inFlight) {
      const { id } = inFlight;
      this.#give(id);
      outbox.exchanges.restore(inFlight, () => this.#remove(id));
    }
  }

  /** The client takes more than it did. */
  onRoom(): void {
    if (this.#behind) this.poke();
  }

  /** A message that is in the session's queue as `id`. */
  deliver(queued: QueuedMessage): void {
    const { id, qos } = queued;
    if (this.#given?.has(id) === true) return;
    const { owned, outbox } = this.#target;
    // The identifiers of QoS 2 are stored first, and others must not overtake it meanwhile.
    if (this.#behind || qos === 2 || !outbox.canTake) {
      this.poke();
    } else if (id > this.#highest || owned.has(id)) {
      const begun = this.#begin(queued);
      if (begun !== undefined) outbox.publish(begun.encoded, begun.packetId, false);
    }
  }

  /** A message that is in no queue: a retained one, or one that was accepted before it was known to be wanted. */
  add(message: Omit<QueuedMessage, 'id'>): void {
    this.#added += 1;
    this.#target.enqueue(message).then(
      () => this.poke(),
      (error: unknown) => this.#target.failed(error),
    );
  }

  /**
   * A message of QoS 2 that somebody else keeps until `done`, which is called when the client holds it. What is stored
   * is the identifier: the client must not take a later message under it for this one.
   *
   * @returns false when the client takes no more now.
   */
  sendKept(encoded: EncodedPublish, id: QueuedId, done: () => void): boolean {
    const { outbox } = this.#target;
    if (!outbox.canTake) return false;
    const packetId = outbox.exchanges.begin({ qos: 2, id, queued: false, done });
    this.#target.sent();
    this.saving.saved().then(
      () => {
        if (!this.#target.isClosed()) outbox.publish(encoded, packetId, false);
      },
      (error: unknown) => this.#target.failed(error),
    );
    return true;
  }

  /** Resolves when the session may add another message; also when the connection is gone. */
  async room(): Promise<void> {
    if (this.#mayAdd() || this.#target.isClosed()) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** There may be something in the queue. */
  poke(): void {
    this.#behind = true;
    this.#poked = true;
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  /** The connection has ended. */
  close(): void {
    this.#wake();
  }

  /** Never rejects: what fails ends the connection. */
  async #run(): Promise<void> {
    try {
      while (this.#poked && !this.#target.isClosed()) {
        this.#poked = false;
        if (this.#owed.length > 0) await this.#resend();
        await this.#giveQueued();
      }
    } catch (error) {
      this.#target.failed(error);
    }
    this.#running = false;
  }

  /** MQTT-4.4.0-1: what was in flight goes first, in its order, under the identifiers that it had. */
  async #resend(): Promise<void> {
    const { owned, outbox } = this.#target;
    for (const { packetId, released } of this.#owed) if (released) this.#target.release(packetId);
    const owed = this.#owed.filter(({ released }) => !released);
    this.#owed = owed;
    const queued = await owned.read(owed.map(({ id }) => id));
    const messages = new Map(queued.map((message) => [message.id, message]));
    for (const [done, inFlight] of owed.entries()) {
      if (!outbox.canTake || this.#target.isClosed()) {
        this.#owed = owed.slice(done);
        return;
      }
      this.#resendOne(inFlight, messages.get(inFlight.id));
    }
    this.#owed = [];
  }

  #resendOne({ packetId, qos }: InFlight, message: QueuedMessage | undefined): void {
    const { outbox } = this.#target;
    const encoded = message === undefined ? undefined : this.#target.encode(message, true);
    if (!outbox.exchanges.resent(packetId)) return;
    if (encoded !== undefined) {
      outbox.publish(encoded, packetId, true);
      this.#target.sent();
    } else if (qos === 1) {
      outbox.acknowledged(packetId);
    } else if (outbox.received(packetId, false) === 'released') {
      // The client is not to have it any more. If it had taken it, it would take the next one with this identifier for
      // the same; so it is told that the exchange is over.
      this.#target.release(packetId);
    }
  }

  async #giveQueued(): Promise<void> {
    const { owned, outbox } = this.#target;
    while (this.#owed.length === 0 && outbox.canTake && !this.#target.isClosed()) {
      const limit = Math.min(readAtOnce, outbox.exchanges.room);
      const queued = await owned.queued(this.#given ?? nothing, limit);
      if (this.#target.isClosed()) return;
      if (queued.length > 0) {
        await this.#giveAll(queued);
      } else {
        if (!this.#poked) this.#caughtUp();
        return;
      }
    }
  }

  async #giveAll(queued: readonly QueuedMessage[]): Promise<void> {
    const { outbox } = this.#target;
    const begun: Begun[] = [];
    let bytes = 0;
    let unsaved = false;
    for (const message of queued) {
      if (outbox.exchanges.room === 0 || (bytes > 0 && !outbox.fits(bytes))) break;
      if (message.id > this.#highest) this.#highest = message.id;
      // Delivered live while the queue was read.
      if (this.#given?.has(message.id) === true) continue;
      const one = this.#begin(message);
      if (one === undefined) continue;
      bytes += one.encoded.bytes.length;
      unsaved ||= message.qos === 2;
      begun.push(one);
    }
    if (unsaved) await this.saving.saved();
    if (this.#target.isClosed()) return;
    for (const { encoded, packetId } of begun) outbox.publish(encoded, packetId, false);
  }

  /** @returns undefined when the client does not get it: then it is taken out of the queue. */
  #begin(queued: QueuedMessage): Begun | undefined {
    const { id, qos } = queued;
    this.#give(id);
    const encoded = this.#target.encode(queued, false);
    if (encoded === undefined) {
      this.#remove(id);
      return undefined;
    }
    const done = (): void => this.#remove(id);
    const packetId = this.#target.outbox.exchanges.begin({ qos, id, queued: true, done });
    this.#target.sent();
    return { packetId, encoded };
  }

  #remove(id: QueuedId): void {
    this.#target.owned.remove(id).then(
      () => {
        this.#given?.delete(id);
        if (this.#mayAdd()) this.#wake();
      },
      (error: unknown) => this.#target.failed(error),
    );
  }

  #give(id: QueuedId): void {
    this.#given ??= new Set();
    this.#given.add(id);
  }

  #caughtUp(): void {
    this.#behind = false;
    this.#added = 0;
    if (this.#mayAdd()) this.#wake();
  }

  #mayAdd(): boolean {
    return this.#added + (this.#given?.size ?? 0) < addedAtOnce;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
