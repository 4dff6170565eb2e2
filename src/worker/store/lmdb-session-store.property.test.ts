/** Any order of what may happen to a session, on two workers, against a model that a reader can check. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { OwnedSession } from '../broker/sessions.ts';
import {
  failsWith,
  messageOf,
  optionsOf,
  targetOf,
  wantedSession,
} from './session-store-contract.ts';
import { TestWorkers } from './session-test-support.ts';
import type { TestWorker } from './session-test-support.ts';

const expirySeconds = 10;

interface Model {
  there: boolean;
  owner: OwnedSession | undefined;
  endedAt: number | undefined;
  will: boolean;
  readonly queue: string[];
  readonly filters: Set<string>;
  readonly received: Set<number>;
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('enqueue' as const),
      worker: fc.nat(1),
      packetId: fc.option(fc.integer({ min: 1, max: 3 })),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('remove' as const), at: fc.nat(9) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('subscribe' as const),
      filter: fc.constantFrom('a', 'b', '$share/g/c'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('unsubscribe' as const),
      filter: fc.constantFrom('a', 'b'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('release' as const),
      packetId: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('leave' as const), will: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('open' as const),
      worker: fc.nat(1),
      cleanStart: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      seconds: fc.integer({ min: 1, max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('look' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One run: the workers go on from run to run, each with a client of its own. */
class Run {
  readonly #workers: TestWorkers;
  readonly #each: readonly TestWorker[];
  readonly #clientId: string;
  readonly #key: string;
  readonly #model: Model = {
    there: false,
    owner: undefined,
    endedAt: undefined,
    will: false,
    queue: [],
    filters: new Set(),
    received: new Set(),
  };
  /** Of the life before: nothing may ever be found of it. */
  readonly #owners: OwnedSession[] = [];
  #epoch = 0;
  #wills = 0;
  #session: OwnedSession | undefined;

  constructor(workers: TestWorkers, each: readonly TestWorker[], clientId: string) {
    this.#workers = workers;
    this.#each = each;
    this.#clientId = clientId;
    this.#key = `device/d1 ${clientId}`;
  }

  async take(one: Step): Promise<void> {
    const model = this.#model;
    const { owner } = model;
    switch (one.do) {
      case 'enqueue':
        await this.#enqueue(one.worker, one.packetId ?? undefined);
        break;
      case 'remove': {
        const [id] = model.queue.slice(one.at, one.at + 1);
        if (owner === undefined || id === undefined) break;
        await owner.remove(id);
        model.queue.splice(one.at, 1);
        break;
      }
      case 'subscribe':
        await owner?.subscribe(new Map([[one.filter, optionsOf()]]));
        if (owner !== undefined) model.filters.add(one.filter);
        break;
      case 'unsubscribe':
        await owner?.unsubscribe([one.filter]);
        if (owner !== undefined) model.filters.delete(one.filter);
        break;
      case 'release':
        await owner?.forgetReceived([one.packetId]);
        if (owner !== undefined) model.received.delete(one.packetId);
        break;
      case 'leave':
        if (owner === undefined) break;
        await owner.leave({
          inFlight: [],
          expirySeconds,
          will: one.will ? { message: messageOf(this.#clientId), delaySeconds: 5 } : undefined,
        });
        model.owner = undefined;
        model.endedAt = this.#workers.timers.now;
        model.will = one.will;
        break;
      case 'open':
        await this.#open(one.worker, one.cleanStart);
        break;
      case 'wait':
        await this.#wait(one.seconds);
        break;
      case 'end':
        await owner?.end();
        if (owner !== undefined) this.#over();
        break;
      case 'look':
        await Promise.all(this.#each.map(({ reaper }) => reaper.look()));
        break;
    }
  }

  async check(): Promise<void> {
    const { there, queue, filters, owner } = this.#model;
    const stored = await this.#worker(0).store.find(this.#key);
    assert.equal(stored !== undefined, there, 'it is there');
    assert.deepEqual([...(stored?.subscriptions.keys() ?? [])].toSorted(), [...filters].toSorted());
    const wills = this.#workers.wills.filter((will) => will.endsWith(` ${this.#clientId}`));
    assert.equal(wills.length, this.#wills, 'wills');
    for (const old of this.#owners) {
      if (old !== this.#session) await assert.rejects(old.saveInFlight([]), failsWith('busy'));
    }
    if (owner === undefined) return;
    const found = await owner.queued(new Set(), 1_000);
    assert.deepEqual(
      found.map(({ id }) => id),
      queue,
    );
    for (const id of queue) assert.ok(owner.has(id));
  }

  async #enqueue(worker: number, packetId: number | undefined): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    const { store } = this.#worker(worker);
    const id = store.newId();
    const reception = packetId === undefined ? undefined : { session: session.id, packetId };
    await store.enqueue(id, messageOf(id), [targetOf(session, { key: this.#key })], reception);
    if (!this.#model.there) return;
    this.#model.queue.push(id);
    if (packetId !== undefined) this.#model.received.add(packetId);
  }

  async #open(worker: number, cleanStart: boolean): Promise<void> {
    const model = this.#model;
    this.#epoch += 1;
    const clientId = this.#clientId;
    const wanted = wantedSession({ clientId, epoch: this.#epoch, cleanStart, expirySeconds });
    const session = await this.#worker(worker).store.open(wanted);
    const present = model.there && !cleanStart;
    assert.equal(session.present, present);
    const due = model.will && !present;
    assert.equal(session.endedWill !== undefined, due, 'the will of what a clean start has ended');
    if (!present) {
      this.#over();
      model.there = true;
    }
    assert.deepEqual(new Set(session.received), model.received);
    assert.deepEqual([...session.subscriptions.keys()].toSorted(), [...model.filters].toSorted());
    this.#session = session;
    this.#owners.push(session);
    Object.assign(model, { owner: session, endedAt: undefined, will: false });
  }

  async #wait(seconds: number): Promise<void> {
    const model = this.#model;
    this.#workers.timers.turn(seconds * 1_000);
    const away = this.#workers.timers.now - (model.endedAt ?? Number.POSITIVE_INFINITY);
    if (model.will && away >= 5_000) {
      model.will = false;
      this.#wills += 1;
    }
    if (away >= expirySeconds * 1_000) this.#over();
    await this.#settled();
  }

  /** The workers have done what was due. */
  async #settled(): Promise<void> {
    for (let i = 0; i < 200; i += 1) {
      const found = await this.#worker(0).store.find(this.#key);
      const wills = this.#workers.wills.filter((will) => will.endsWith(` ${this.#clientId}`));
      const { endedAt, there } = this.#model;
      const record = this.#worker(0).tables.get(this.#key);
      const inHand = endedAt !== undefined && record?.life.owner !== undefined;
      if ((found !== undefined) === there && wills.length === this.#wills && !inHand) return;
      await new Promise((resolve) => setImmediate(resolve));
      await this.#workers.environment.store('other').commit([], [], 'process');
    }
  }

  #over(): void {
    const { queue, filters, received } = this.#model;
    queue.length = 0;
    filters.clear();
    received.clear();
    Object.assign(this.#model, { there: false, owner: undefined, endedAt: undefined, will: false });
  }

  #worker(at: number): TestWorker {
    const worker = this.#each[at];
    if (worker === undefined) throw new Error('there are two');
    return worker;
  }
}

test('a session is what its owner left of it and what was queued since, in any order of events', async () => {
  await using workers = new TestWorkers();
  const each = [workers.start(0), workers.start(1)];
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      runs += 1;
      const run = new Run(workers, each, `c${runs}`);
      for (const one of steps) {
        await run.take(one);
        await run.check();
      }
    }),
    { numRuns: 60 },
  );
});
