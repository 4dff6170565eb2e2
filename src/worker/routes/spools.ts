/**
 * The spools of all backends: puts accepted messages into those whose route matches, shares their delivery out among
 * the workers, and does what an operator asks about dead letters.
 */
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { DeadLetter, SpoolState } from '../../common/ipc/messages.ts';
import type { BackendSettings, Durability } from '../../common/ipc/snapshot.ts';
import type { Message } from '../broker/message.ts';
import { TopicTree } from '../broker/topic-tree.ts';
import type { Peers, View } from '../peering/ports.ts';
import { BackendClient } from './backend-client.ts';
import type { BackendSender } from './backend-client.ts';
import { partitionOf } from './partition.ts';
import type { RecordSeal, SpoolEntry, SpoolStore, Timers } from './ports.ts';
import { Spool } from './spool.ts';
import type { SpoolParts } from './spool.ts';
import { encodeRecord, SpoolRecords } from './spool-record.ts';
import { noRoom } from './spooling.ts';
import type { Spooling } from './spooling.ts';
import { systemTimers } from './timers.ts';
import { WakeUps } from './wake-ups.ts';

/** Lanes look for what nobody told them about; sizes are read for the metrics. */
const lookEveryMs = 1_000;
const deadLettersPerPage = 1_000;
/** Dead letters that are restored together before the event loop gets a turn. */
const restoredTogether = 100;

export interface SpoolsParts {
  readonly store: SpoolStore;
  readonly seal: RecordSeal;
  /** Whether the disk has room for what is new. */
  readonly hasRoom: () => boolean;
  readonly peers: Peers;
  readonly durability: () => Durability;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
  /** For tests; otherwise the machine's. */
  readonly timers?: Timers;
  readonly random?: () => number;
  readonly connect?: (settings: BackendSettings) => BackendSender;
}

export class Spools implements Spooling {
  readonly #parts: SpoolsParts;
  readonly #timers: Timers;
  readonly #spoolParts: SpoolParts;
  readonly #wakeUps: WakeUps;
  readonly #spools = new Map<string, Spool>();
  /** Names of the spools that a topic is for; also of those that could not be opened. */
  readonly #routes = new TopicTree<string, string>();
  readonly #filters = new Map<string, string>();
  /** To be opened when the store is free. */
  readonly #unopened = new Map<string, BackendSettings>();
  #trustDomain = '';
  #slots: readonly number[] = [];
  #cancelLook: () => void;
  #draining = false;

  constructor(parts: SpoolsParts) {
    const { store, seal, peers, clock, logger, count } = parts;
    const timers = parts.timers ?? systemTimers;
    this.#parts = parts;
    this.#timers = timers;
    this.#spoolParts = {
      slot: peers.slot,
      store,
      seal,
      clock,
      timers,
      logger,
      count,
      random: parts.random ?? Math.random,
      connect: parts.connect ?? ((settings) => new BackendClient(settings, { clock, timers })),
    };
    this.#wakeUps = new WakeUps(peers, timers, (spool, partition, messages) => {
      this.#spools.get(spool)?.wake(partition, messages);
    });
    peers.listen({
      onUp: () => {},
      onDown: () => {},
      onView: (view) => this.#share(view),
    });
    if (peers.view !== undefined) this.#share(peers.view);
    this.#cancelLook = timers.after(lookEveryMs, () => this.#look());
  }

  /**
   * The backends that there are from now on. What is under way to one that has changed or is gone comes to its end; what
   * waits for one that is gone stays on disk until it is back.
   */
  update(backends: readonly BackendSettings[], trustDomain: string): void {
    this.#trustDomain = trustDomain;
    const named = new Map(backends.map((settings) => [settings.spool, settings]));
    for (const [name, filter] of this.#filters) {
      if (named.get(name)?.match === filter) continue;
      this.#routes.delete(filter, name);
      this.#filters.delete(name);
    }
    for (const [name, spool] of this.#spools) {
      if (named.has(name)) continue;
      this.#spools.delete(name);
      this.#owned(spool.stop());
    }
    this.#unopened.clear();
    for (const settings of named.values()) {
      this.#put(settings);
      this.#routes.set(settings.match, settings.spool, settings.spool);
      this.#filters.set(settings.spool, settings.match);
    }
    this.#owned(this.#nameLeftOver());
  }

  /** Another worker has opened the store, in which nothing could be made meanwhile. */
  storeIsFree(): void {
    const unopened = [...this.#unopened.values()];
    this.#unopened.clear();
    for (const settings of unopened) this.#put(settings);
  }

  spool(message: Message): Promise<void> | undefined {
    const matches = this.#routes.match(message.topic);
    if (matches.length === 0) return undefined;
    if (!this.#parts.hasRoom()) throw noRoom();
    const spools: Spool[] = [];
    const bytes = message.payload.length + message.topic.length;
    for (const members of matches) {
      for (const name of members.keys()) {
        const spool = this.#spools.get(name);
        if (spool === undefined) throw new SallyportError('unavailable', `${name} is not open`);
        spool.checkRoom(bytes);
        spools.push(spool);
      }
    }
    const partition = partitionOf(message.publisher);
    const id = this.#parts.store.newId(partition);
    const record = encodeRecord(message, this.#parts.clock.now());
    const additions = spools.map((spool) => {
      const value = spool.records.seal(id, record);
      spool.took(value.length);
      return { spool: spool.name, id, value };
    });
    const landed = (): void => {
      for (const [i, spool] of spools.entries()) spool.landed(additions[i]?.value.length ?? 0);
    };
    return this.#parts.store.append(additions, this.#parts.durability()).then(
      () => {
        landed();
        for (const spool of spools) this.#wake(spool, partition);
      },
      (error: unknown) => {
        landed();
        for (const spool of spools) spool.troubled(messageOf(error));
        throw new SallyportError('unavailable', `not spooled: ${messageOf(error)}`, {
          cause: error,
        });
      },
    );
  }

  /** Every spool of the configuration, and those of earlier ones in which something is left. */
  async states(): Promise<readonly SpoolState[]> {
    const states: SpoolState[] = [];
    for (const name of this.#parts.store.names().toSorted()) {
      const state = await this.#state(name);
      if (state === undefined) continue;
      if (this.#spools.has(name) || state.waiting + state.deadLetters > 0) states.push(state);
    }
    return states;
  }

  /**
   * A page of dead letters, oldest first.
   *
   * @param after an id; empty = from the oldest.
   * @throws SallyportError `not-found` for a spool that is not there, `usage` for what is no id, `io`
   */
  async deadLetters(name: string, after: string, limit: number): Promise<readonly DeadLetter[]> {
    this.#openForOperator(name);
    const most = Math.min(Math.max(1, Math.trunc(limit)), deadLettersPerPage);
    const records = this.#recordsOf(name);
    const entries = await this.#parts.store.deadLetters(name, after, most);
    return entries.map((entry) => records.describe(entry));
  }

  /**
   * Puts dead letters back to where they were, however full the spool is: they are counted against the bound from then
   * on. What cannot be read stays a dead letter.
   *
   * @param ids undefined = all that there are now.
   * @returns how many.
   * @throws SallyportError `not-found`, `io`
   */
  async retry(name: string, ids: readonly string[] | undefined): Promise<number> {
    this.#openForOperator(name);
    let restored = 0;
    for await (const page of this.#pages(name, ids)) {
      const outcomes = await Promise.all(page.map((entry) => this.#restore(name, entry)));
      restored += outcomes.filter(Boolean).length;
    }
    return restored;
  }

  /** @param ids undefined = all. @returns how many. @throws SallyportError `not-found`, `io` */
  async discard(name: string, ids: readonly string[] | undefined): Promise<number> {
    this.#openForOperator(name);
    if (ids !== undefined) return this.#parts.store.discard(name, ids);
    const { deadLetters } = await this.#parts.store.usage(name);
    return this.#parts.store.discardOldest(name, deadLetters);
  }

  /** What waits is the same for all workers and told by one; the rest is each one's own. */
  gauges(): Readonly<Record<string, number>> {
    const gauges: Record<string, number> = {};
    const first = this.#slots[0] === this.#parts.peers.slot;
    for (const [name, spool] of this.#spools) {
      const label = `{spool="${name}"}`;
      gauges[`spool_in_flight${label}`] = spool.inFlight;
      gauges[`backend_breaker${label}`] = breakerValue[spool.breaker];
      if (!first || spool.usage === undefined) continue;
      gauges[`spool_waiting${label}`] = spool.usage.messages;
      gauges[`spool_bytes${label}`] = spool.usage.bytes;
      gauges[`spool_dead_letters${label}`] = spool.usage.deadLetters;
    }
    return gauges;
  }

  /** Sends nothing new, waits so long at most for what is under way, and ends the connections. */
  async drain(limitMs: number): Promise<void> {
    this.#draining = true;
    this.#cancelLook();
    const spools = [...this.#spools.values()];
    let cancel: (() => void) | undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#timers.after(limitMs, resolve);
    });
    await Promise.race([Promise.all(spools.map((spool) => spool.stop())), late]);
    cancel?.();
    await Promise.all(spools.map((spool) => spool.destroy()));
  }

  #put(settings: BackendSettings): void {
    const known = this.#spools.get(settings.spool);
    if (known !== undefined) {
      known.update(settings, this.#trustDomain);
      return;
    }
    try {
      const spool = new Spool(this.#spoolParts, settings, this.#trustDomain);
      this.#spools.set(settings.spool, spool);
      if (!this.#draining) spool.share(this.#slots);
    } catch (error) {
      // Its route stays: its messages are refused as unavailable and not lost in silence.
      const fields = { spool: settings.spool, err: messageOf(error) };
      const { logger } = this.#parts;
      if (errorCodeOf(error) === 'busy') {
        this.#unopened.set(settings.spool, settings);
        logger.info(fields, 'a spool is opened in a moment');
      } else logger.error(fields, 'a spool cannot be opened: its messages are refused');
    }
  }

  #share(view: View): void {
    this.#slots = view.slots;
    this.#wakeUps.keep(view.slots);
    if (this.#draining) return;
    for (const spool of this.#spools.values()) spool.share(view.slots);
  }

  #wake(spool: Spool, partition: number): void {
    const { peers } = this.#parts;
    const slot = spool.deliverer(partition);
    if (slot === peers.slot) spool.wake(partition, 1);
    else if (slot !== undefined) this.#wakeUps.add(slot, spool.name, partition, 1);
  }

  #look(): void {
    for (const spool of this.#spools.values()) this.#owned(this.#lookInto(spool));
    this.#cancelLook = this.#timers.after(lookEveryMs, () => this.#look());
  }

  async #lookInto(spool: Spool): Promise<void> {
    await spool.measure();
    if ((spool.usage?.messages ?? 0) > 0) spool.wakeAll();
  }

  async #state(name: string): Promise<SpoolState | undefined> {
    try {
      this.#parts.store.open(name);
      const { messages, bytes, deadLetters } = await this.#parts.store.usage(name);
      return { spool: name, waiting: messages, bytes, deadLetters };
    } catch (error) {
      this.#parts.logger.warn({ spool: name, err: messageOf(error) }, 'a spool cannot be read');
      return undefined;
    }
  }

  async #nameLeftOver(): Promise<void> {
    for (const state of await this.states()) {
      if (this.#spools.has(state.spool)) continue;
      this.#parts.logger.warn(
        state,
        'messages wait in the spool of a route that is gone: they are delivered when it is back',
      );
    }
  }

  /** A spool that another worker made, or an earlier configuration. */
  #openForOperator(name: string): void {
    if (!this.#parts.store.names().includes(name)) {
      throw new SallyportError('not-found', 'there is no such spool', {
        hint: 'see "sallyport route list"',
      });
    }
    this.#parts.store.open(name);
  }

  #recordsOf(name: string): SpoolRecords {
    return this.#spools.get(name)?.records ?? new SpoolRecords(this.#parts.seal, name);
  }

  async *#pages(
    name: string,
    ids: readonly string[] | undefined,
  ): AsyncIterable<readonly SpoolEntry[]> {
    const { store } = this.#parts;
    if (ids !== undefined) {
      for (const id of ids) {
        const entry = await store.deadLetter(name, id);
        if (entry !== undefined) yield [entry];
      }
      return;
    }
    let { deadLetters: left } = await store.usage(name);
    let after = '';
    // No more than there were: what is refused again meanwhile would come round for ever.
    while (left > 0) {
      const page = await store.deadLetters(name, after, Math.min(left, restoredTogether));
      if (page.length === 0) return;
      left -= page.length;
      after = page.at(-1)?.id ?? after;
      yield page;
    }
  }

  async #restore(name: string, entry: SpoolEntry): Promise<boolean> {
    const value = this.#recordsOf(name).restored(entry);
    if (value === undefined) return false;
    const restored = await this.#parts.store.restore(name, entry.id, value);
    const spool = this.#spools.get(name);
    if (restored && spool !== undefined) this.#wake(spool, entry.partition);
    return restored;
  }

  /** Nobody waits for these. */
  #owned(work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#parts.logger.error({ err: messageOf(error) }, 'spools: what was begun has failed');
    });
  }
}

const breakerValue = { closed: 0, 'half-open': 1, open: 2 } as const;
