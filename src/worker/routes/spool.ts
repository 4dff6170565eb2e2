/**
 * One spool as this worker sees it: how much room there is, which lanes it delivers, and how its backend does.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { LogBudget } from '../../common/base/log-budget.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import type { BackendSender, Delivery } from './backend-client.ts';
import { Lane } from './lane.ts';
import { laneOf, laneRanges, ownerOf } from './partition.ts';
import type { LaneRange } from './partition.ts';
import type { RecordSeal, SpoolStore, SpoolUsage, Timers } from './ports.ts';
import { Recovery } from './recovery.ts';
import { Settlements } from './settlements.ts';
import { SpoolRecords } from './spool-record.ts';
import type { WaitingMessage } from './spool-record.ts';

/** How old the size may be by which a message is let in, beside what this worker has put in since. */
const usageAgeMs = 50;
/** What the storage adds to a record. */
const entryBytes = 64;
/** Whoever delivered a lane before has this long to bring to an end what is under way. */
const handOverMs = 100;
const logLinesPerSecond = 1;
/** Part of the dead letters that goes when their bytes are too many. */
const dropped = 0.1;

export interface SpoolParts {
  /** This worker. */
  readonly slot: number;
  readonly store: SpoolStore;
  readonly seal: RecordSeal;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: () => number;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
  readonly connect: (settings: BackendSettings) => BackendSender;
}

export class Spool {
  readonly name: string;
  readonly records: SpoolRecords;
  readonly #parts: SpoolParts;
  readonly #recovery: Recovery;
  readonly #settlements: Settlements;
  readonly #log: LogBudget;
  /** By lane. */
  readonly #lanes = new Map<number, Lane>();
  /** Lanes that are given up and bring to an end what is under way. */
  readonly #leaving = new Set<Promise<void>>();
  #settings: BackendSettings;
  #trustDomain: string;
  #sender: BackendSender;
  #slots: readonly number[] = [];
  /** Undefined until it is known: there is no room then. */
  #usage: SpoolUsage | undefined;
  #usageAt = Number.NEGATIVE_INFINITY;
  #measuring = false;
  #looking = false;
  /** Beside `#usage`: what this worker has put in since, and what of it is no longer on its way. */
  readonly #added = { messages: 0, bytes: 0 };
  readonly #landed = { messages: 0, bytes: 0 };
  /** Dead letters have come since their number was looked at. */
  #crowded = false;
  #bounding = false;
  #stopped = false;

  /** @throws SallyportError when the store cannot open it. */
  constructor(parts: SpoolParts, settings: BackendSettings, trustDomain: string) {
    this.name = settings.spool;
    this.#parts = parts;
    this.#settings = settings;
    this.#trustDomain = trustDomain;
    this.records = new SpoolRecords(parts.seal, this.name);
    this.#log = new LogBudget(logLinesPerSecond, parts.clock);
    parts.store.open(this.name);
    this.#sender = parts.connect(settings);
    this.#settlements = new Settlements(parts.store, parts.timers, this.name);
    this.#recovery = new Recovery({
      timers: parts.timers,
      clock: parts.clock,
      random: parts.random,
      retry: () => this.#settings.retry,
      onResume: () => this.wakeAll(),
      onOpen: (trouble) => {
        const fields = { spool: this.name, ...trouble };
        parts.logger.warn(fields, 'a backend takes no messages: they wait in its spool');
      },
      onClose: (downMs) => {
        const fields = { spool: this.name, downMs: Math.round(downMs) };
        parts.logger.info(fields, 'a backend takes messages again');
      },
    });
    void this.measure();
  }

  get match(): string {
    return this.#settings.match;
  }

  /** Messages that the backend has been sent by this worker and not answered. */
  get inFlight(): number {
    return this.#lanes.values().reduce((sum, lane) => sum + lane.inFlight, 0);
  }

  get breaker(): Recovery['breaker'] {
    return this.#recovery.breaker;
  }

  get usage(): SpoolUsage | undefined {
    return this.#usage;
  }

  update(settings: BackendSettings, trustDomain: string): void {
    const before = this.#settings;
    this.#settings = settings;
    this.#trustDomain = trustDomain;
    if (connectionOf(before) !== connectionOf(settings)) {
      const old = this.#sender;
      this.#sender = this.#parts.connect(settings);
      void old.close();
    }
    if (before.requests !== settings.requests) {
      for (const lane of this.#lanes.keys()) this.#leave(lane);
      this.#takeLanes();
    }
    this.wakeAll();
  }

  /** The live workers: which lanes are this one's follows from it. */
  share(slots: readonly number[]): void {
    this.#slots = slots;
    for (const lane of this.#lanes.keys()) {
      if (this.#ownerOf(lane) !== this.#parts.slot) this.#leave(lane);
    }
    this.#takeLanes();
  }

  /** Which worker delivers a partition; undefined when nobody lives. */
  deliverer(partition: number): number | undefined {
    return this.#ownerOf(laneOf(partition, this.#settings.requests));
  }

  /** @throws SallyportError `unavailable` when there is no room for a record of so many bytes. */
  checkRoom(bytes: number): void {
    if (this.#parts.clock.monotonic() - this.#usageAt > usageAgeMs) void this.measure();
    if (this.#hasRoom(bytes)) return;
    this.#lookAgain(bytes);
    this.#parts.count(`spool_full{spool="${this.name}"}`);
    if (this.#log.take()) {
      const fields = { spool: this.name, ...this.#usage, ...this.#log.suppressed() };
      this.#parts.logger.warn(fields, 'a spool is full: devices are told unavailable');
    }
    throw new SallyportError('unavailable', `spool ${this.name} is full`);
  }

  /** A record of so many bytes is on its way into the spool: `landed` MUST follow. */
  took(bytes: number): void {
    this.#added.messages += 1;
    this.#added.bytes += bytes + entryBytes;
  }

  /** The store has it, or has refused it. */
  landed(bytes: number): void {
    this.#landed.messages += 1;
    this.#landed.bytes += bytes + entryBytes;
  }

  /** Asks the store how much there is. Never rejects. */
  async measure(): Promise<void> {
    if (this.#measuring) return;
    this.#measuring = true;
    // The store may not count yet what is on its way: that goes on counting here, for a moment rather twice than never.
    const { messages, bytes } = this.#landed;
    try {
      this.#usage = await this.#parts.store.usage(this.name);
      this.#usageAt = this.#parts.clock.monotonic();
      for (const counts of [this.#added, this.#landed]) {
        counts.messages -= messages;
        counts.bytes -= bytes;
      }
    } catch (error) {
      this.troubled(messageOf(error));
    } finally {
      this.#measuring = false;
    }
  }

  /** So many new messages lie in a partition. */
  wake(partition: number, messages: number): void {
    this.#lanes.get(laneOf(partition, this.#settings.requests))?.wake(messages);
  }

  wakeAll(): void {
    for (const lane of this.#lanes.values()) lane.wake(0);
  }

  /** Sends nothing new. Resolves when what is under way has come to an end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const lane of this.#lanes.keys()) this.#leave(lane);
    await Promise.all(this.#leaving);
    this.#recovery.stop();
    await this.#sender.close();
  }

  /** Ends what is under way. */
  async destroy(): Promise<void> {
    await this.#sender.destroy();
  }

  /** The store fails it: the operator is told, now and then. */
  troubled(err: string): void {
    if (!this.#log.take()) return;
    const fields = { spool: this.name, err, ...this.#log.suppressed() };
    this.#parts.logger.error(fields, 'a spool cannot be read or written');
  }

  #hasRoom(bytes: number): boolean {
    const { messages, bytes: mostBytes } = this.#settings;
    const usage = this.#usage;
    return (
      usage !== undefined &&
      usage.messages + this.#added.messages < messages &&
      usage.bytes + this.#added.bytes + bytes + entryBytes <= mostBytes
    );
  }

  /** After a refusal, until there is room: nobody is refused for longer than the spool is full. */
  #lookAgain(bytes: number): void {
    if (this.#looking || this.#stopped) return;
    this.#looking = true;
    this.#parts.timers.after(usageAgeMs, () => {
      void this.measure().then(() => {
        this.#looking = false;
        if (!this.#hasRoom(bytes)) this.#lookAgain(bytes);
      });
    });
  }

  #ownerOf(lane: number): number | undefined {
    return ownerOf(this.name, lane, this.#slots);
  }

  /** The lanes that are this worker's and that it does not have yet, once others have let go of them. */
  #takeLanes(): void {
    const { timers, slot } = this.#parts;
    const ranges = laneRanges(this.#settings.requests);
    for (const [index, range] of ranges.entries()) {
      if (this.#stopped || this.#lanes.has(index) || this.#ownerOf(index) !== slot) continue;
      const lane = this.#makeLane(range);
      this.#lanes.set(index, lane);
      const leaving = Promise.all(this.#leaving);
      timers.after(handOverMs, () => {
        void leaving.then(() => {
          lane.begin();
        });
      });
    }
  }

  #leave(index: number): void {
    const lane = this.#lanes.get(index);
    if (lane === undefined) return;
    this.#lanes.delete(index);
    const left = lane.stop().then(() => {
      this.#leaving.delete(left);
    });
    this.#leaving.add(left);
  }

  #makeLane(range: LaneRange): Lane {
    const { store, clock, timers, logger } = this.#parts;
    return new Lane({
      range,
      store,
      clock,
      timers,
      records: this.records,
      settlements: this.#settlements,
      recovery: this.#recovery,
      settings: () => this.#settings,
      trustDomain: () => this.#trustDomain,
      sender: () => this.#sender,
      report: {
        delivered: (outcome, messages) => this.#delivered(outcome, messages),
        refused: (waiting, reason) => this.#refused(waiting, reason),
        deadLettered: () => void this.#boundDeadLetters(),
        unreadable: (id, err) => {
          if (!this.#log.take()) return;
          const fields = { spool: this.name, id, err, ...this.#log.suppressed() };
          logger.error(fields, 'a spooled message cannot be read: kept as a dead letter');
        },
        troubled: (err) => this.troubled(err),
      },
    });
  }

  #delivered(outcome: Delivery['outcome'], messages: number): void {
    this.#parts.count(`deliveries{spool="${this.name}",outcome="${outcome}"}`, messages);
  }

  #refused({ id, message }: WaitingMessage, reason: string): void {
    if (!this.#log.take()) return;
    const { publisher, topic } = message;
    const fields = { spool: this.name, id, publisher, topic, reason, ...this.#log.suppressed() };
    this.#parts.logger.warn(fields, 'a backend refused a message: kept as a dead letter');
  }

  /** The oldest go when there are too many, or when they take up more than the spool itself may. */
  async #boundDeadLetters(): Promise<void> {
    // One at a time: two that see the same excess would drop it twice.
    this.#crowded = true;
    if (this.#bounding) return;
    this.#bounding = true;
    while (this.#crowded) {
      this.#crowded = false;
      await this.#dropOldest();
    }
    this.#bounding = false;
  }

  async #dropOldest(): Promise<void> {
    const { store, count, logger } = this.#parts;
    try {
      const { deadLetters, deadLetterBytes } = await store.usage(this.name);
      const tooMany = deadLetters - this.#settings.deadLetters;
      const tooLarge =
        deadLetterBytes > this.#settings.bytes ? Math.ceil(deadLetters * dropped) : 0;
      if (tooMany <= 0 && tooLarge <= 0) return;
      const gone = await store.discardOldest(this.name, Math.max(tooMany, tooLarge));
      count(`dead_letters_dropped{spool="${this.name}"}`, gone);
      if (!this.#log.take()) return;
      const fields = { spool: this.name, messages: gone, ...this.#log.suppressed() };
      logger.warn(fields, 'too many dead letters: the oldest are gone');
    } catch (error) {
      this.troubled(messageOf(error));
    }
  }
}

/** What connections depend on: when it changes there are new ones. */
function connectionOf({ url, timeoutMs, requests, tls }: BackendSettings): string {
  return JSON.stringify([url, timeoutMs, requests, tls.ca, tls.client]);
}
