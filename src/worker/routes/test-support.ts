/** For the tests of this folder: time that is turned by hand, workers that hear each other, a backend without sockets. */
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { Logger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { MessageProperties } from '../../common/codec/mqtt/packets.ts';
import type { BackendSettings } from '../../common/ipc/snapshot.ts';
import type { Message } from '../broker/message.ts';
import type { Handler, PeerListener, Peers, View } from '../peering/ports.ts';
import type { BackendSender, Delivery } from './backend-client.ts';
import type { EventRequest } from './cloud-event.ts';
import type { RecordSeal, SpoolStore, Timers } from './ports.ts';
import { Spools } from './spools.ts';

export class HandTime implements Clock, Timers {
  #now = 1_000_000;
  readonly #timers = new Set<{ readonly at: number; readonly wake: () => void }>();

  now(): number {
    return 1_700_000_000_000 + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, wake: () => void): () => void {
    const timer = { at: this.#now + ms, wake };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** What was set off by each moment is over before the next one comes. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const due = [...this.#timers].filter(({ at }) => at <= end);
      const [next] = due.toSorted((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.wake();
    }
    this.#now = end;
  }
}

/** Every promise that waits for nothing from outside has been settled. */
export async function settled(): Promise<void> {
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}

/** The workers of one test. */
export class PeersGroup {
  readonly members: HandPeers[] = [];
  #changes = 0;

  join(): HandPeers {
    const peers = new HandPeers(this, this.members.length);
    this.members.push(peers);
    return peers;
  }

  /** The live workers are these from now on. */
  view(slots: readonly number[]): void {
    this.#changes += 1;
    for (const peers of this.members) peers.see({ id: `${slots.join()} ${this.#changes}`, slots });
  }
}

export class HandPeers implements Peers {
  readonly slot: number;
  readonly linked: ReadonlySet<number> = new Set();
  view: View | undefined;
  onBatch: Peers['onBatch'] = () => {};
  /** Words are lost. */
  deaf = false;
  heard = 0;
  readonly #group: PeersGroup;
  readonly #handlers = new Map<string, Handler>();
  readonly #listeners: PeerListener[] = [];

  constructor(group: PeersGroup, slot: number) {
    this.#group = group;
    this.slot = slot;
  }

  see(view: View): void {
    this.view = view;
    for (const listener of this.#listeners) listener.onView(view);
  }

  notify(slot: number, type: string, body: object): boolean {
    const to = this.#group.members[slot];
    const words: unknown = JSON.parse(JSON.stringify(body));
    queueMicrotask(() => to?.hear(this.slot, type, words));
    return to !== undefined;
  }

  hear(from: number, type: string, body: unknown): void {
    this.heard += 1;
    if (!this.deaf) this.#handlers.get(type)?.(from, body, () => {});
  }

  handle(type: string, handler: Handler): void {
    this.#handlers.set(type, handler);
  }

  listen(listener: PeerListener): void {
    this.#listeners.push(listener);
  }

  call(): void {}

  sendBatch(): boolean {
    return false;
  }

  cut(): void {}
}

export interface ReceivedEvent {
  readonly id: string;
  readonly source: string;
  readonly payload: string;
}

/** Takes requests apart; what it answers is the test's business. */
class HandBackend {
  readonly requests: ReceivedEvent[][] = [];
  underWay = 0;
  mostUnderWay = 0;
  answer: (events: readonly ReceivedEvent[]) => Delivery | Promise<Delivery> = () => accepted;

  get events(): readonly ReceivedEvent[] {
    return this.requests.flat();
  }

  get payloads(): readonly string[] {
    return this.events.map(({ payload }) => payload);
  }

  sender(): BackendSender {
    return {
      send: async (request) => {
        const events = eventsOf(request);
        this.requests.push(events);
        this.underWay += 1;
        this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
        try {
          return await this.answer(events);
        } finally {
          this.underWay -= 1;
        }
      },
      close: async () => {},
      destroy: async () => {},
    };
  }
}

export const accepted: Delivery = { outcome: 'accepted' };
export const failed: Delivery = { outcome: 'failed', reason: 'down', retryAfterMs: undefined };
export const refused: Delivery = { outcome: 'refused', reason: 'answered 422' };

/** Binary mode, or a batch. */
function eventsOf({ headers, body }: EventRequest): ReceivedEvent[] {
  const id = headers['ce-id'];
  if (id !== undefined) {
    return [{ id, source: headers['ce-source'] ?? '', payload: body.toString() }];
  }
  // Made by our own code a moment ago.
  const batch = JSON.parse(body.toString()) as {
    readonly id: string;
    readonly source: string;
    readonly data?: unknown;
    readonly data_base64?: string;
  }[];
  return batch.map((event) => ({
    id: event.id,
    source: event.source,
    payload:
      event.data_base64 === undefined
        ? JSON.stringify(event.data)
        : Buffer.from(event.data_base64, 'base64').toString(),
  }));
}

/** Seals nothing, but knows what it is told the record is about. */
const openSeal: RecordSeal = {
  seal: (context, plain) => Buffer.concat([Buffer.from(`${context}\n`), plain]),
  open: (context, record) => {
    const end = record.indexOf('\n');
    if (record.toString('utf8', 0, end) !== context) {
      throw new SallyportError('tampered', 'sealed in another context');
    }
    return record.subarray(end + 1);
  },
};

export function backend(settings: Partial<BackendSettings> = {}): BackendSettings {
  return {
    spool: 'telemetry/backend',
    route: 'telemetry',
    match: 'devices/+/telemetry',
    url: 'http://127.0.0.1:9/ingest',
    batch: 1,
    batchWaitMs: 100,
    timeoutMs: 10_000,
    requests: 8,
    retry: { minMs: 500, maxMs: 30_000 },
    messages: 1_000,
    bytes: 100_000_000,
    deadLetters: 100,
    tls: { ca: undefined, client: undefined },
    ...settings,
  };
}

export function telemetry(
  device: string,
  payload: string | Buffer,
  properties: MessageProperties = noProperties,
): Message {
  return {
    topic: `devices/${device}/telemetry`,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties,
    publisher: principalName('device', device),
    publisherSession: '',
    delivery: undefined,
    expiresAt: undefined,
  };
}

export interface TestWorker {
  readonly spools: Spools;
  readonly peers: HandPeers;
  readonly counted: Map<string, number>;
}

/** A worker's view of a store that is shared. */
export type MakeStore = (micros: () => number, slot: number) => SpoolStore;

/** Workers that share a store and one backend. */
export class TestWorkers {
  readonly time = new HandTime();
  /** Of the disk. */
  hasRoom = true;
  readonly group = new PeersGroup();
  readonly backend = new HandBackend();
  /** Of the settings with which there was a connection. */
  readonly connected: BackendSettings[] = [];
  logger: Logger = silentLogger;
  readonly #makeStore: MakeStore;
  #looks = 0;

  constructor(makeStore: MakeStore) {
    this.#makeStore = makeStore;
  }

  start(): TestWorker {
    const peers = this.group.join();
    const counted = new Map<string, number>();
    // A real clock has gone on by the time that another worker looks at it.
    const micros = (): number => {
      this.#looks += 1;
      return this.time.monotonic() * 1_000 + this.#looks;
    };
    const spools = new Spools({
      store: this.#makeStore(micros, peers.slot),
      seal: openSeal,
      hasRoom: () => this.hasRoom,
      peers,
      durability: () => 'process',
      clock: this.time,
      logger: this.logger,
      count: (name, by = 1) => counted.set(name, (counted.get(name) ?? 0) + by),
      timers: this.time,
      random: () => 0.5,
      connect: (settings) => {
        this.connected.push(settings);
        return this.backend.sender();
      },
    });
    return { spools, peers, counted };
  }
}
