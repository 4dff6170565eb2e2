/**
 * Keeps the queues of sessions within their bounds.
 *
 * Any worker writes to any queue, and a counter that all of them change would make them wait for each other. So each
 * worker has an estimate: what it counted last, and what it has put in since. It counts anew, in the background, when
 * the others may have put in enough to matter, or the client may have taken as much, and when the queue seems full: soon
 * when its oldest message has gone since, else now and then, because a client may complete what came later first. While
 * it counts it lets in what comes, so a queue may exceed its bound by what arrives within these milliseconds, and by a
 * sixteenth for each worker.
 *
 * Counting takes about 2 µs per message. A session that is away is counted some six times while its queue fills; one
 * that stays full, whether its client takes a little or nothing, rests in between.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { QueuedId } from '../broker/message.ts';
import type { SessionId, SessionLimits } from '../broker/sessions.ts';

/** Estimates that are kept: some 20 MB at most. The one made first is forgotten first, and its queue counted again. */
const maxEstimates = 65_536;
/** Part of the bound that may come in before the others are thought of. */
const stepPart = 1 / 16;
/** Messages counted before the event loop gets a turn: some 250 µs. */
const chunkMessages = 256;
/** Oldest messages that one new one may push out. */
const maxPushedOut = 1_024;
const pushedOutPerLook = 16;
/** After a count a queue that seems full rests for so many times what that has cost, a message. */
const restFactor = 25;
const countedUs = 2;
/** One whose oldest message stays rests twice as long after each count that found it full, up to this. */
const longestRestMs = 60_000;
const logEveryMs = 60_000;

export interface QueuedSize {
  readonly id: QueuedId;
  /** As it is stored. */
  readonly bytes: number;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
}

export interface QueueBoundsOptions {
  readonly limits: () => SessionLimits;
  /** How many workers there are. */
  readonly workers: () => number;
  /** What is committed, oldest first, after `after`. */
  readonly sizes: (
    session: SessionId,
    after: QueuedId | undefined,
    limit: number,
  ) => readonly QueuedSize[];
  /** Removes messages that have expired. */
  readonly drop: (session: SessionId, ids: readonly QueuedId[]) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
}

const nothing: readonly QueuedId[] = Object.freeze([]);

interface Estimate {
  readonly session: SessionId;
  messages: number;
  bytes: number;
  /** Put in since it was counted. */
  sinceMessages: number;
  sinceBytes: number;
  /** What is on its way to the store; undefined = nothing, most of the time. */
  flight: Set<QueuedSize> | undefined;
  /** What the count found first, or what came first since. */
  oldest: QueuedId | undefined;
  /** Milliseconds, wall clock: when the first of them expires. */
  expiresAt: number;
  /** Monotonic; undefined = never. */
  countedAt: number | undefined;
  /** Since then, while its oldest message stays. */
  restMs: number;
  /** It stays, as the present count began: what comes meanwhile is still too much. */
  stays: boolean;
  /** Pushed out or on its way out, and everything before it. */
  floor: QueuedId | undefined;
  loggedAt: number;
}

/** One message that may go into a queue. */
export class Admission implements QueuedSize {
  readonly id: QueuedId;
  readonly bytes: number;
  readonly expiresAt: number | undefined;
  /** Of the queue, to be removed with it. */
  readonly pushedOut: readonly QueuedId[];
  readonly #estimate: Estimate;

  constructor(estimate: Estimate, message: QueuedSize, pushedOut: readonly QueuedId[]) {
    this.id = message.id;
    this.bytes = message.bytes;
    this.expiresAt = message.expiresAt;
    this.pushedOut = pushedOut;
    this.#estimate = estimate;
  }

  /** To be called when the message has been written, or has not. */
  landed(written: boolean): void {
    const { flight } = this.#estimate;
    if (flight !== undefined) {
      flight.delete(this);
      if (flight.size === 0) this.#estimate.flight = undefined;
    }
    if (!written) add(this.#estimate, -1, -this.bytes);
  }
}

export class QueueBounds {
  readonly #options: QueueBoundsOptions;
  readonly #estimates = new Map<SessionId, Estimate>();
  /** To be counted, in the order in which that was found. */
  readonly #toCount = new Set<Estimate>();
  #counting = false;

  constructor(options: QueueBoundsOptions) {
    this.#options = options;
  }

  /** @returns undefined when the queue is full and the message is left out, counted and told. */
  admit(session: SessionId, key: string, message: QueuedSize): Admission | undefined {
    const { id, bytes, expiresAt = Number.POSITIVE_INFINITY } = message;
    const limits = this.#options.limits();
    const estimate = this.#estimate(session);
    let pushedOut = nothing;
    if (isFull(estimate, bytes, limits)) {
      const neverFits = bytes > limits.queuedBytes;
      const full = neverFits || this.#surelyFull(estimate);
      if (full && (neverFits || limits.whenQueueFull === 'drop-newest')) {
        this.#dropped(estimate, key, 1);
        return undefined;
      }
      if (full) pushedOut = this.#pushOut(estimate, bytes, limits);
      if (pushedOut.length > 0) this.#dropped(estimate, key, pushedOut.length);
    } else if (this.#isOld(estimate, limits)) {
      this.#count(estimate);
    }
    add(estimate, 1, bytes);
    const admission = new Admission(estimate, message, pushedOut);
    (estimate.flight ??= new Set()).add(admission);
    estimate.oldest ??= id;
    estimate.expiresAt = Math.min(estimate.expiresAt, expiresAt);
    return admission;
  }

  forget(session: SessionId): void {
    const estimate = this.#estimates.get(session);
    if (estimate === undefined) return;
    this.#estimates.delete(session);
    this.#toCount.delete(estimate);
  }

  #estimate(session: SessionId): Estimate {
    const known = this.#estimates.get(session);
    if (known !== undefined) return known;
    const [first] = this.#estimates.keys();
    if (this.#estimates.size >= maxEstimates && first !== undefined) this.forget(first);
    const estimate: Estimate = {
      session,
      messages: 0,
      bytes: 0,
      sinceMessages: 0,
      sinceBytes: 0,
      flight: undefined,
      oldest: undefined,
      expiresAt: Number.POSITIVE_INFINITY,
      countedAt: undefined,
      restMs: 0,
      stays: false,
      floor: undefined,
      loggedAt: Number.NEGATIVE_INFINITY,
    };
    this.#estimates.set(session, estimate);
    this.#count(estimate);
    return estimate;
  }

  /** Others may have put in as much for each of them as this worker has, and the client may have taken as much. */
  #isOld(estimate: Estimate, { queuedMessages, queuedBytes }: SessionLimits): boolean {
    const workers = Math.max(2, this.#options.workers());
    const { messages, bytes, sinceMessages, sinceBytes } = estimate;
    const step = (bound: number, counted: number): number =>
      Math.max(bound * stepPart, (bound - counted) / workers);
    return (
      sinceMessages > step(queuedMessages, messages - sinceMessages) ||
      sinceBytes > step(queuedBytes, bytes - sinceBytes)
    );
  }

  /** What seems full is full unless something has gone from it: then it is counted, and not dropped from meanwhile. */
  #surelyFull(estimate: Estimate): boolean {
    if (this.#toCount.has(estimate)) return estimate.stays;
    const { clock } = this.#options;
    const { session, floor, oldest, countedAt, expiresAt } = estimate;
    const [first] = this.#options.sizes(session, floor, 1);
    const stays = first?.id === oldest && expiresAt > clock.now();
    const restMs = stays ? estimate.restMs : shortestRest(estimate);
    if (clock.monotonic() - (countedAt ?? Number.NEGATIVE_INFINITY) < restMs) return true;
    this.#count(estimate, stays);
    return stays;
  }

  #pushOut(estimate: Estimate, bytes: number, limits: SessionLimits): readonly QueuedId[] {
    const { session } = estimate;
    const pushedOut: QueuedId[] = [];
    while (isFull(estimate, bytes, limits) && pushedOut.length < maxPushedOut) {
      const oldest = this.#options.sizes(session, estimate.floor, pushedOutPerLook);
      if (oldest.length === 0) {
        // Somebody else has emptied it, or nothing of it is committed yet.
        this.#count(estimate);
        break;
      }
      for (const each of oldest) {
        estimate.oldest = each.id;
        if (!isFull(estimate, bytes, limits)) break;
        pushedOut.push(each.id);
        estimate.floor = each.id;
        estimate.oldest = undefined;
        add(estimate, -1, -each.bytes);
      }
    }
    return pushedOut;
  }

  #dropped(estimate: Estimate, key: string, messages: number): void {
    const { clock, logger, count } = this.#options;
    count('mqtt_dropped{reason="queue-full"}', messages);
    const now = clock.monotonic();
    if (now - estimate.loggedAt < logEveryMs) return;
    estimate.loggedAt = now;
    logger.warn({ session: key }, 'the queue of a session is full: messages are dropped');
  }

  #count(estimate: Estimate, stays = false): void {
    estimate.stays = stays;
    this.#toCount.add(estimate);
    if (this.#counting) return;
    this.#counting = true;
    void this.#countAll();
  }

  /** Never rejects. */
  async #countAll(): Promise<void> {
    for (;;) {
      await nextTurn();
      let budget = chunkMessages;
      for (const estimate of this.#toCount) {
        if (budget <= 0) break;
        budget -= await this.#countOne(estimate);
      }
      if (this.#toCount.size > 0) continue;
      this.#counting = false;
      return;
    }
  }

  /** @returns how many messages it met, and one. */
  async #countOne(estimate: Estimate): Promise<number> {
    const { session } = estimate;
    const { sizes, limits, clock, logger } = this.#options;
    const now = clock.now();
    const expired: QueuedId[] = [];
    const found = { messages: 0, bytes: 0, expiresAt: Number.POSITIVE_INFINITY };
    let oldest: QueuedId | undefined;
    let after: QueuedId | undefined;
    let met = 1;
    try {
      for (;;) {
        const chunk = sizes(session, after, chunkMessages);
        for (const { id, bytes, expiresAt = Number.POSITIVE_INFINITY } of chunk) {
          met += 1;
          after = id;
          if (expiresAt <= now) {
            expired.push(id);
            continue;
          }
          oldest ??= id;
          found.messages += 1;
          found.bytes += bytes;
          found.expiresAt = Math.min(found.expiresAt, expiresAt);
        }
        if (chunk.length < chunkMessages) break;
        await nextTurn();
      }
      const { restMs } = estimate;
      settle(estimate, { ...found, oldest, last: after }, clock.monotonic());
      const rest = shortestRest(estimate);
      estimate.restMs = isFull(estimate, 0, limits())
        ? Math.min(longestRestMs, Math.max(1, rest, 2 * restMs))
        : rest;
      if (expired.length > 0) this.#options.drop(session, expired);
    } catch (error) {
      // Closed, or damaged: what was estimated stays.
      logger.debug({ err: messageOf(error) }, 'a queue cannot be counted');
    }
    this.#toCount.delete(estimate);
    return met;
  }
}

interface Counted {
  readonly messages: number;
  readonly bytes: number;
  readonly expiresAt: number;
  readonly oldest: QueuedId | undefined;
  readonly last: QueuedId | undefined;
}

function settle(estimate: Estimate, counted: Counted, at: number): void {
  estimate.messages = counted.messages;
  estimate.bytes = counted.bytes;
  estimate.sinceMessages = 0;
  estimate.sinceBytes = 0;
  estimate.expiresAt = counted.expiresAt;
  estimate.countedAt = at;
  estimate.oldest = counted.oldest;
  for (const { id, bytes, expiresAt = Number.POSITIVE_INFINITY } of estimate.flight ?? []) {
    // What this worker writes is committed in the order of its ids: up to the last that was met it has been counted.
    if (counted.last !== undefined && id <= counted.last) continue;
    estimate.oldest ??= id;
    estimate.expiresAt = Math.min(estimate.expiresAt, expiresAt);
    add(estimate, 1, bytes);
  }
}

function isFull(
  { messages, bytes }: Estimate,
  moreBytes: number,
  { queuedMessages, queuedBytes }: SessionLimits,
): boolean {
  return messages + 1 > queuedMessages || bytes + moreBytes > queuedBytes;
}

/** Milliseconds after its last count; next to nothing for a queue that was short. */
function shortestRest({ messages, sinceMessages }: Estimate): number {
  return Math.floor(((messages - sinceMessages) * countedUs * restFactor) / 1_000);
}

function add(estimate: Estimate, messages: number, bytes: number): void {
  estimate.messages += messages;
  estimate.bytes += bytes;
  estimate.sinceMessages += messages;
  estimate.sinceBytes += bytes;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
