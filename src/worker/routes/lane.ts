/**
 * Delivers the messages of some partitions of a spool, with one request at a time.
 *
 * It reads from the beginning of a partition each time, past what is delivered and not yet gone from there: so what was
 * committed late is met before anything that came after it. A device's message is sent for the first time only when all of
 * its earlier ones were acknowledged or refused, whoever else may believe that the lane is his.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import type { BackendSender, Delivery } from './backend-client.ts';
import { eventBatch, singleEvent } from './cloud-event.ts';
import { partitionOf } from './partition.ts';
import type { LaneRange } from './partition.ts';
import type { MessageId, SpoolEntry, SpoolStore, Timers } from './ports.ts';
import type { Pass, Recovery } from './recovery.ts';
import type { Settlements } from './settlements.ts';
import type { SpoolRecords, WaitingMessage } from './spool-record.ts';
import { Suspects } from './suspects.ts';

/** Of the records of one request: what a slow backend holds in memory, and below what most accept. */
const maxRequestBytes = 512 * 1024;
/** When the disk does not let go of what was delivered. */
const persistAgainMs = 1_000;
/** Delivered and still in the spool; more of them wait for the disk. */
const maxUnsettled = 2_000;

export interface LaneParts {
  readonly range: LaneRange;
  readonly store: SpoolStore;
  readonly settlements: Settlements;
  readonly records: SpoolRecords;
  readonly recovery: Recovery;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly settings: () => BackendSettings;
  readonly trustDomain: () => string;
  readonly sender: () => BackendSender;
  readonly report: LaneReport;
}

export interface LaneReport {
  delivered(outcome: Delivery['outcome'], messages: number): void;
  /** Before it becomes a dead letter. */
  refused(waiting: WaitingMessage, reason: string): void;
  /** It has become one. */
  deadLettered(): void;
  unreadable(id: string, error: string): void;
  troubled(error: string): void;
}

export class Lane {
  readonly #parts: LaneParts;
  /** The partition with which the next read begins. */
  #next: number;
  /** Messages for the next request: fewer than the settings say while one is being looked for that is refused. */
  #most = Number.POSITIVE_INFINITY;
  /** The last read found as much as it could take. */
  #backlog = false;
  /** Messages that were announced since the last read. */
  #announced = 0;
  #woken = false;
  #inFlight = 0;
  #running: Promise<void> | undefined;
  /** Delivered, and not yet gone from the spool. */
  readonly #delivered = new Set<MessageId>();
  readonly #settling = new Set<Promise<void>>();
  /** The disk has refused to let go of something. */
  #stuck = false;
  readonly #pauses = new Set<Pause>();
  readonly #suspects: Suspects;
  #begun = false;
  #stopped = false;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    this.#next = parts.range.from;
    this.#suspects = new Suspects(parts.clock);
  }

  /** Messages that the backend has been sent and not answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** It may send from now on. */
  begin(): void {
    this.#begun = true;
    this.wake(0);
  }

  /** There may be something to do: `messages` new ones, if the caller knows of any. */
  wake(messages: number): void {
    this.#announced += messages;
    this.#woken = true;
    for (const pause of this.#pauses) if (this.#announced >= pause.messages) pause.end();
    this.#start();
  }

  /** Resolves when nothing is under way. What was not sent stays in the spool. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const pause of this.#pauses) pause.end();
    await this.#running;
    await Promise.all(this.#settling);
  }

  #start(): void {
    if (!this.#begun || this.#stopped || this.#running !== undefined) return;
    if (!this.#woken || this.#parts.recovery.holds(this)) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      // Woken after the last look and before this.
      this.#start();
    });
  }

  async #run(): Promise<void> {
    const { recovery, report } = this.#parts;
    while (!this.#stopped && this.#woken && !recovery.holds(this)) {
      this.#woken = false;
      try {
        await this.#step();
      } catch (error) {
        report.troubled(messageOf(error));
        this.#woken = true;
        await this.#pause(persistAgainMs, Number.POSITIVE_INFINITY);
      }
    }
  }

  async #step(): Promise<void> {
    const { recovery, settings } = this.#parts;
    if (this.#stuck || this.#delivered.size >= maxUnsettled) await Promise.all(this.#settling);
    const { batch, batchWaitMs } = settings();
    const most = Math.min(this.#most, batch);
    const waits = batch > 1 && most === batch && !recovery.probing;
    const waited = waits && !this.#backlog && this.#announced > 0;
    if (waited) await this.#pause(batchWaitMs, batch);
    if (this.#stopped) return;
    this.#announced = 0;
    const { entries, full } = await this.#read(most);
    if (entries.length === 0) {
      this.#backlog = false;
      return;
    }
    if (waits && !waited && !full) {
      // The rest of what was more than a batch, or what was found without having been announced.
      this.#backlog = false;
      this.#announced += entries.length;
      this.#woken = true;
      return;
    }
    this.#backlog = full;
    if (full) this.#woken = true;
    await this.#deliver(await this.#open(entries), batch);
  }

  async #deliver(messages: readonly WaitingMessage[], batch: number): Promise<void> {
    const { recovery, report, sender, trustDomain } = this.#parts;
    const [first] = messages;
    if (first === undefined) return;
    const request =
      batch > 1 ? eventBatch(messages, trustDomain()) : singleEvent(first, trustDomain());
    const pass = this.#stopped ? undefined : recovery.admit(this);
    if (pass === undefined) {
      this.#woken = true;
      return;
    }
    this.#inFlight = messages.length;
    const delivery = await sender().send(request);
    this.#inFlight = 0;
    report.delivered(delivery.outcome, messages.length);
    switch (delivery.outcome) {
      case 'failed':
        this.#woken = true;
        await this.#failed(messages, pass, delivery);
        return;
      case 'accepted':
        recovery.accepted(pass, this);
        this.#settle(messages);
        // Partitions take turns, but not while a message is being looked for among those of one.
        if (this.#most >= batch) this.#next = this.#after(messages);
        this.#most = Math.min(batch, this.#most * 2);
        return;
      case 'refused':
        this.#woken = true;
        if (messages.length > 1) {
          recovery.answered(pass, this);
          this.#most = Math.ceil(messages.length / 2);
        } else {
          recovery.refused(pass, this, delivery.reason);
          await this.#refuse(first, delivery.reason);
        }
    }
  }

  /** It may be for one of the messages: fewer the next time, and then another device's. */
  async #failed(
    messages: readonly WaitingMessage[],
    pass: Pass,
    { reason, retryAfterMs }: Extract<Delivery, { outcome: 'failed' }>,
  ): Promise<void> {
    const { recovery } = this.#parts;
    const waitMs = recovery.failed(pass, this, reason, retryAfterMs);
    const [only, another] = messages;
    if (another !== undefined) {
      this.#most = Math.ceil(messages.length / 2);
    } else if (only !== undefined) {
      this.#next = this.#after(messages);
      if (this.#suspects.failed(only.id, recovery.acceptedRequests)) {
        await this.#refuse(only, `${reason}, again and again, while others were accepted`);
      }
    }
    await this.#pause(waitMs, Number.POSITIVE_INFINITY);
  }

  /** From the partition whose turn it is, once round. */
  async #read(
    limit: number,
  ): Promise<{ readonly entries: readonly SpoolEntry[]; readonly full: boolean }> {
    const { range, store, settings } = this.#parts;
    const { spool } = settings();
    const next = this.#next;
    const skip = this.#delivered;
    const first = { from: next, to: range.to, limit, bytes: maxRequestBytes, skip };
    const entries = [...(await store.read(spool, first))];
    let bytes = bytesOf(entries);
    const rest = limit - entries.length;
    if (rest > 0 && bytes < maxRequestBytes && next > range.from) {
      const left = maxRequestBytes - bytes;
      const second = { from: range.from, to: next, limit: rest, bytes: left, skip };
      entries.push(...(await store.read(spool, second)));
      bytes = bytesOf(entries);
    }
    return { entries, full: entries.length >= limit || bytes >= maxRequestBytes };
  }

  /** What cannot be read must not stand in the way of what can. */
  async #open(entries: readonly SpoolEntry[]): Promise<readonly WaitingMessage[]> {
    const { records, report, store, settings } = this.#parts;
    const messages: WaitingMessage[] = [];
    for (const entry of entries) {
      try {
        messages.push(records.open(entry));
      } catch (error) {
        report.unreadable(entry.id, messageOf(error));
        await store.refuse(settings().spool, entry.id, records.unreadable(entry.value));
        report.deadLettered();
      }
    }
    return messages;
  }

  /** The next ones may be sent meanwhile: these are not read again. */
  #settle(messages: readonly WaitingMessage[]): void {
    const ids = messages.map(({ id }) => id);
    for (const id of ids) {
      this.#delivered.add(id);
      this.#suspects.settled(id);
    }
    const settling = this.#persist(() => this.#parts.settlements.settle(ids)).then(() => {
      for (const id of ids) this.#delivered.delete(id);
      this.#settling.delete(settling);
    });
    this.#settling.add(settling);
  }

  async #refuse(waiting: WaitingMessage, reason: string): Promise<void> {
    const { clock, records, report, store, settings } = this.#parts;
    const value = records.refused(waiting, { refusedAt: clock.now(), reason });
    report.refused(waiting, reason);
    this.#suspects.settled(waiting.id);
    await this.#persist(() => store.refuse(settings().spool, waiting.id, value));
    report.deadLettered();
  }

  /** Again and again: to send more while the disk does not note what became of it would be wrong. */
  async #persist(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await write();
        this.#stuck = false;
        return;
      } catch (error) {
        this.#stuck = true;
        this.#parts.report.troubled(messageOf(error));
        if (this.#stopped) return;
        await this.#pause(persistAgainMs, Number.POSITIVE_INFINITY);
      }
    }
  }

  #after(messages: readonly WaitingMessage[]): number {
    const { from, to } = this.#parts.range;
    const last = messages.at(-1);
    const next = last === undefined ? to : partitionOf(last.message.publisher) + 1;
    return next < to ? next : from;
  }

  /** Ends early when so many messages were announced, or with the lane. */
  async #pause(ms: number, messages: number): Promise<void> {
    if (ms === 0 || this.#stopped || this.#announced >= messages) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.timers.after(ms, () => pause.end());
      const pause: Pause = {
        messages,
        end: () => {
          cancel();
          this.#pauses.delete(pause);
          resolve();
        },
      };
      this.#pauses.add(pause);
    });
  }
}

interface Pause {
  /** So many announced messages end it. */
  readonly messages: number;
  readonly end: () => void;
}

function bytesOf(entries: readonly SpoolEntry[]): number {
  return entries.reduce((sum, { value }) => sum + value.length, 0);
}
