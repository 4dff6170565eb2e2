/**
 * Looks after sessions that no connection has: ends those that have expired, publishes wills whose delay has passed
 * (MQTT 5 §3.1.3.2.2), takes note of those whose worker has died, and removes those of identities that were revoked
 * while nobody was there to do it.
 *
 * The home of an identity does so for its sessions, found by reading all records when the workers change and every
 * minute. A worker whose client has left remembers when that session is due, too, and is in time where the home would
 * be a minute late. Both may act: the epoch lets one of them. Whoever acts makes itself the owner first, so that a will
 * is published once, or by the next one when it dies meanwhile.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Message } from '../broker/message.ts';
import { principalOfKey } from '../broker/session-key.ts';
import type { Timers } from '../routes/ports.ts';
import { DueTimes } from './due-times.ts';
import type { SessionPresence, Workers } from './session-presence.ts';
import { dueAt, isOver } from './session-record.ts';
import type { SessionLife } from './session-record.ts';
import type { SessionRemains } from './session-remains.ts';
import type { SealedMessages } from './session-store-parts.ts';
import { contentsOf } from './session-tables.ts';
import type { FoundSession, SessionTables } from './session-tables.ts';

const lookEveryMs = 60_000;
/** What is due later is found by a later look. */
const horizonMs = 2 * lookEveryMs;
/** Sessions that are dealt with at the same time, mostly in one transaction. */
const together = 32;
/** For a will that is being published when the worker ends; the next one finds what is not done. */
const closeMs = 2_000;

export interface SessionReaperOptions {
  readonly tables: SessionTables;
  readonly presence: SessionPresence;
  readonly remains: SessionRemains;
  readonly messages: SealedMessages;
  readonly workers: Workers;
  readonly isRevoked: (principal: PrincipalName) => boolean;
  /** Judges the will by today's policy and publishes it. */
  readonly publishWill: (principal: PrincipalName, message: Message) => Promise<void>;
  /** Resolves when every other worker has been told. */
  readonly onSessionChanged: (key: string) => Promise<void>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
}

export class SessionReaper {
  readonly #options: SessionReaperOptions;
  readonly #due = new DueTimes();
  readonly #inHand = new Set<string>();
  /** What the store did not take of this worker's sessions. */
  readonly #notLeft = new Map<string, { readonly epoch: number; readonly life: SessionLife }>();
  #working: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #looksWanted = 0;
  #cancelWake: () => void = () => {};
  #cancelLook: () => void = () => {};
  #closed = false;

  constructor(options: SessionReaperOptions) {
    this.#options = options;
    this.#lookLater();
  }

  /** There is something to do about a session at this time; `Infinity` = never. */
  note(key: string, at: number): void {
    if (this.#closed || at > this.#options.clock.now() + horizonMs) return;
    this.#due.set(key, at);
    this.#arm();
  }

  /** That the client has left, and what it left, could not be stored: it will be when there is room again. */
  notLeft(key: string, epoch: number, life: SessionLife): void {
    this.#notLeft.set(key, { epoch, life });
  }

  /** Reads all records: to be called when workers have come or gone. Resolves when all has been seen. */
  look(): Promise<void> {
    this.#looksWanted += 1;
    this.#looking ??= this.#lookAround();
    return this.#looking;
  }

  /** Resolves when what is under way has been done, or soon. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelWake();
    this.#cancelLook();
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      cancel = this.#options.timers.after(closeMs, resolve);
    });
    await Promise.race([Promise.all([this.#looking, this.#working]), late]);
    cancel();
  }

  #lookLater(): void {
    this.#cancelLook = this.#options.timers.after(lookEveryMs, () => {
      void this.look();
      this.#lookLater();
    });
  }

  /** Never rejects. */
  async #lookAround(): Promise<void> {
    let wanted = 0;
    while (wanted !== this.#looksWanted && !this.#closed) {
      wanted = this.#looksWanted;
      try {
        await this.#lookOnce();
      } catch (error) {
        const fields = { err: messageOf(error) };
        this.#options.logger.warn(fields, 'sessions without a connection were not looked after');
      }
    }
    this.#looking = undefined;
  }

  async #lookOnce(): Promise<void> {
    const { tables, workers, remains, clock, logger } = this.#options;
    // Before it has heard of the others a worker would take them all for dead.
    if (workers.slots().length === 0) return;
    const unreadable = (key: string, error: unknown): void =>
      logger.error({ session: key, err: messageOf(error) }, 'a stored session cannot be read');
    for (const key of this.#notLeft.keys()) this.note(key, clock.now());
    for await (const { key, life } of tables.scan(unreadable)) {
      if (this.#closed) return;
      if (this.#notLeft.has(key) || !workers.isHome(principalOfKey(key))) continue;
      this.note(key, this.#dueOf(key, life, clock.now()));
    }
    await remains.sweep();
  }

  #arm(): void {
    this.#cancelWake();
    const { next } = this.#due;
    if (next === undefined || this.#working !== undefined || this.#closed) return;
    const { clock, timers } = this.#options;
    this.#cancelWake = timers.after(Math.max(0, next - clock.now()), () => this.#wake());
  }

  /** A timer may be early by the wall clock, and then nothing is due yet and the work is over at once. */
  #wake(): void {
    this.#working ??= this.#work().then(() => {
      this.#working = undefined;
      this.#arm();
    });
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    const { clock, logger } = this.#options;
    const failures: { readonly session: string; readonly err: string }[] = [];
    for (;;) {
      const keys: string[] = [];
      while (keys.length < together) {
        const key = this.#due.take(clock.now());
        if (key === undefined) break;
        keys.push(key);
      }
      if (keys.length === 0 || this.#closed) break;
      await Promise.all(
        keys.map(async (key) => {
          this.#inHand.add(key);
          try {
            await this.#settle(key);
          } catch (error) {
            // The next look finds it again.
            failures.push({ session: key, err: messageOf(error) });
          }
          this.#inHand.delete(key);
        }),
      );
    }
    // On a full disk all of them fail, every minute, and the log may be on that disk.
    const [first] = failures;
    if (first !== undefined) {
      logger.warn({ ...first, sessions: failures.length }, 'sessions were not settled');
    }
  }

  /** When there is something to do about the session. */
  #dueOf(key: string, life: SessionLife, now: number): number {
    const { presence, tables, isRevoked } = this.#options;
    const { owner, endedAt } = life;
    if (isRevoked(principalOfKey(key))) return now;
    if (!presence.isThere(owner)) return endedAt === undefined ? now : dueAt(life);
    // In the hands of another worker, or of this one, which failed if it does not know.
    const failed =
      endedAt !== undefined && owner?.slot === tables.self.slot && !this.#inHand.has(key);
    return failed ? dueAt(life) : Number.POSITIVE_INFINITY;
  }

  async #settle(key: string): Promise<void> {
    const { tables, presence, clock } = this.#options;
    const found = tables.get(key);
    const waiting = this.#notLeft.get(key);
    const notLeft = found !== undefined && waiting?.epoch === found.epoch ? waiting : undefined;
    if (notLeft === undefined) this.#notLeft.delete(key);
    if (found === undefined) return;
    if (this.#options.isRevoked(principalOfKey(key))) {
      await this.#finish(found, found.epoch);
      return;
    }
    const now = clock.now();
    const { life: stored } = notLeft ?? contentsOf(found);
    const { owner, endedAt = now } = stored;
    const connected = stored.endedAt === undefined && presence.isThere(owner);
    const inOtherHands = owner?.slot !== tables.self.slot && presence.isThere(owner);
    if (connected || inOtherHands) return;
    const life: SessionLife = { ...stored, owner: undefined, endedAt };
    if (dueAt(life) <= now) {
      await this.#take(found, life, now);
    } else {
      // When its worker has died, what it waits for counts from when that is known.
      const isNews = notLeft !== undefined || stored.endedAt === undefined;
      if (isNews) await this.#put(found, found.epoch, life);
      this.note(key, dueAt(life));
    }
    this.#notLeft.delete(key);
  }

  async #take(found: FoundSession, life: SessionLife, now: number): Promise<void> {
    const { tables, messages, publishWill, count } = this.#options;
    const { key } = found;
    let { epoch } = found;
    if (life.will !== undefined) {
      epoch += 1;
      if (!(await this.#put(found, epoch, { ...life, owner: tables.self }))) return;
      const will = messages.openWill(life.id, life.will);
      if (will !== undefined) await publishWill(principalOfKey(key), will.message);
    }
    if (!isOver(life, now)) {
      const rest: SessionLife = { ...life, will: undefined };
      if (await this.#put({ ...found, epoch }, epoch, rest)) this.note(key, dueAt(rest));
      return;
    }
    if (await this.#finish(found, epoch)) count('mqtt_sessions_expired');
  }

  /** @returns whether it was the last word on the session. */
  async #finish(found: FoundSession, epoch: number): Promise<boolean> {
    const { tables, remains, onSessionChanged } = this.#options;
    const { key } = found;
    const { life, subscriptions } = contentsOf(found);
    const done = await tables.change(key, epoch, () => tables.finish(key, life));
    if (!done) return false;
    if (life.hasQueue) remains.clear(life.id);
    if (subscriptions.size > 0) await onSessionChanged(key);
    return true;
  }

  /** @returns whether the session was still as it was found. */
  #put(found: FoundSession, to: number, life: SessionLife): Promise<boolean> {
    const { tables } = this.#options;
    const { key, epoch } = found;
    const { subscriptions } = contentsOf(found);
    return tables.change(key, epoch, () => tables.putRecord(key, to, life, subscriptions));
  }
}
