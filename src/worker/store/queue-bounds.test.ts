import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/base/logger.ts';
import type { SessionLimits } from '../broker/sessions.ts';
import { QueueBounds } from './queue-bounds.ts';
import type { QueuedSize } from './queue-bounds.ts';

/** Queues that several workers write to, each with bounds of its own. */
class Queues {
  now = 0;
  limits: SessionLimits = {
    sessionsPerIdentity: 1,
    queuedMessages: 100,
    queuedBytes: 1_000_000,
    whenQueueFull: 'drop-newest',
  };
  readonly queue: QueuedSize[] = [];
  readonly warned: object[] = [];
  dropped = 0;
  reads = 0;
  #last = 0;

  worker(workers = 1): QueueBounds {
    return new QueueBounds({
      limits: () => this.limits,
      workers: () => workers,
      sizes: (_, after = '', limit) => {
        this.reads += 1;
        return this.queue.filter(({ id }) => id > after).slice(0, limit);
      },
      drop: (_, ids) => this.take(ids),
      clock: { now: () => this.now, monotonic: () => this.now },
      logger: { ...silentLogger, warn: (fields) => this.warned.push(fields) },
      count: (_, by = 1) => {
        this.dropped += by;
      },
    });
  }

  /** @returns whether it was let in. */
  put(bounds: QueueBounds, bytes = 10, expiresAt?: number): boolean {
    this.#last += 1;
    const id = this.#last.toString().padStart(8, '0');
    const admission = bounds.admit('s', 'device/d1 c', { id, bytes, expiresAt });
    if (admission === undefined) return false;
    this.take(admission.pushedOut);
    this.queue.push({ id, bytes, expiresAt });
    admission.landed(true);
    return true;
  }

  /** Many, each in a turn of its own. @returns how many were let in. */
  async putAll(bounds: QueueBounds, messages: number, expiresAt?: number): Promise<number> {
    let letIn = 0;
    for (let i = 0; i < messages; i += 1) {
      if (this.put(bounds, 10, expiresAt)) letIn += 1;
      await turns();
    }
    return letIn;
  }

  take(ids: readonly string[]): void {
    const left = this.queue.filter(({ id }) => !ids.includes(id));
    this.queue.splice(0, this.queue.length, ...left);
  }
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 8; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

test('one worker keeps a queue at its bound, and hardly counts it', async () => {
  const queues = new Queues();
  const bounds = queues.worker();
  assert.equal(await queues.putAll(bounds, 500), 100);
  assert.equal(queues.queue.length, 100);
  assert.equal(queues.dropped, 400);
  assert.ok(
    queues.reads - 400 <= 8,
    `${queues.reads}: a look at the oldest for each, and the counts`,
  );
});

for (const whenQueueFull of ['drop-newest', 'drop-oldest'] as const) {
  for (const workers of [1, 2]) {
    const rule = `${whenQueueFull}, ${workers} of ${workers}`;
    test(`nothing is dropped from a queue that is short all the time: ${rule}`, async () => {
      const queues = new Queues();
      queues.limits = { ...queues.limits, whenQueueFull };
      const bounds = queues.worker(workers);
      for (let i = 0; i < 1_000; i += 1) {
        assert.ok(queues.put(bounds));
        await turns();
        if (queues.queue.length > 10) queues.queue.shift();
      }
      assert.equal(queues.dropped, 0);
    });

    test(`nor when its oldest message stays and the others go: ${rule}`, async () => {
      const queues = new Queues();
      queues.limits = { ...queues.limits, whenQueueFull };
      const bounds = queues.worker(workers);
      queues.put(bounds);
      for (let i = 0; i < 1_000; i += 1) {
        assert.ok(queues.put(bounds));
        await turns();
        queues.queue.length = 1;
      }
      assert.equal(queues.dropped, 0);
    });
  }
}

test('a queue that is nearly full, whose oldest message stays, takes again soon after others have gone', async () => {
  const queues = new Queues();
  const bounds = queues.worker();
  await queues.putAll(bounds, 100);
  assert.equal(queues.put(bounds), false);
  queues.queue.length = 1;
  let waitedMs = 0;
  while (!queues.put(bounds)) {
    queues.now += 1;
    waitedMs += 1;
    await turns();
  }
  assert.ok(waitedMs <= 20, `${waitedMs} ms`);
});

test('a client that takes one message at a time from a full queue has it counted now and then', async () => {
  const queues = new Queues();
  queues.limits = { ...queues.limits, queuedMessages: 1_000, queuedBytes: 1_000_000 };
  const bounds = queues.worker();
  await queues.putAll(bounds, 1_000);
  const before = queues.reads;
  for (let i = 0; i < 1_000; i += 1) {
    queues.queue.shift();
    queues.put(bounds);
    queues.now += 1;
    await turns();
  }
  // Four reads a count, and a look for each message: in a second some twenty counts.
  assert.ok(queues.reads - before < 1_000 + 4 * 25, `${queues.reads - before}`);
  assert.ok(queues.queue.length > 900, `${queues.queue.length}`);
});

test('several workers overshoot by a sixteenth each at most', async () => {
  for (const workers of [2, 5]) {
    const queues = new Queues();
    const each = Array.from({ length: workers }, () => queues.worker(workers));
    for (let i = 0; i < 400; i += 1) {
      const bounds = each[i % workers];
      if (bounds !== undefined) queues.put(bounds);
      await turns();
    }
    const most = 100 + Math.ceil(workers * (100 / 16 + 1));
    assert.ok(queues.queue.length >= 100 && queues.queue.length <= most, `${queues.queue.length}`);
  }
});

test('a queue that was emptied takes again, whoever emptied it', async () => {
  const queues = new Queues();
  const bounds = queues.worker();
  for (let round = 0; round < 5; round += 1) {
    await turns();
    for (let i = 0; i < 100; i += 1) assert.ok(queues.put(bounds), `${round} ${i}`);
    queues.queue.length = 0;
  }
  assert.equal(queues.dropped, 0);
});

test('a worker that does not know a queue counts it before it is too late', async () => {
  const queues = new Queues();
  const first = queues.worker();
  for (let i = 0; i < 100; i += 1) queues.put(first);
  const second = queues.worker();
  assert.ok(queues.put(second), 'it has not counted yet');
  await turns();
  assert.equal(queues.put(second), false);
});

test('what has expired makes room', async () => {
  const queues = new Queues();
  const bounds = queues.worker();
  await queues.putAll(bounds, 50);
  await queues.putAll(bounds, 50, 5_000);
  queues.now = 4_999;
  assert.equal(queues.put(bounds), false);
  await turns();
  queues.now = 5_010;
  assert.ok(queues.put(bounds));
  await turns();
  assert.equal(queues.queue.length, 51);
  assert.equal(await queues.putAll(bounds, 49), 49);
  assert.equal(queues.put(bounds), false);
});

test('one large message pushes out as many small ones as it needs', async () => {
  const queues = new Queues();
  queues.limits = { ...queues.limits, queuedBytes: 1_000, whenQueueFull: 'drop-oldest' };
  const bounds = queues.worker();
  for (let i = 0; i < 100; i += 1) queues.put(bounds);
  await turns();
  assert.ok(queues.put(bounds, 505));
  assert.equal(queues.queue.length, 50);
  assert.equal(queues.queue.at(-1)?.bytes, 505);
  assert.equal(queues.put(bounds, 1_001), false, 'it would never fit');
  assert.equal(queues.queue.length, 50);
  assert.equal(queues.dropped, 52);
});

test('a full queue is logged once a minute', async () => {
  const queues = new Queues();
  queues.limits = { ...queues.limits, queuedMessages: 1, whenQueueFull: 'drop-oldest' };
  const bounds = queues.worker();
  await queues.putAll(bounds, 10);
  assert.deepEqual(queues.warned, [{ session: 'device/d1 c' }]);
  queues.now += 60_000;
  queues.put(bounds);
  assert.equal(queues.warned.length, 2);
});

test('what was not written is not counted', async () => {
  const queues = new Queues();
  const bounds = queues.worker();
  queues.put(bounds);
  await turns();
  const message = { id: 'x', bytes: 10, expiresAt: undefined };
  for (let i = 0; i < 1_000; i += 1) bounds.admit('s', 'k', message)?.landed(false);
  assert.equal(await queues.putAll(bounds, 100), 99);
});

test('what is being written while it counts is counted once', async () => {
  const queues = new Queues();
  queues.limits = { ...queues.limits, queuedMessages: 150 };
  const bounds = queues.worker();
  const landing = Array.from({ length: 100 }, (_, i) => {
    const message = { id: `${i + 100}`, bytes: 10, expiresAt: undefined };
    return { message, admission: bounds.admit('s', 'k', message) };
  });
  // Half of them are in the store already, though nobody has been told.
  for (const { message } of landing.slice(0, 50)) queues.queue.push(message);
  await turns();
  for (const { message } of landing.slice(50)) queues.queue.push(message);
  for (const { admission } of landing) admission?.landed(true);
  assert.equal(await queues.putAll(bounds, 51), 50);
});

test('messages of one turn push out one each', async () => {
  const queues = new Queues();
  queues.limits = { ...queues.limits, whenQueueFull: 'drop-oldest' };
  const bounds = queues.worker();
  for (let i = 0; i < 100; i += 1) queues.put(bounds);
  await turns();
  const pushedOut = ['x', 'y', 'z'].flatMap(
    (id) => bounds.admit('s', 'k', { id, bytes: 10, expiresAt: undefined })?.pushedOut ?? [],
  );
  assert.deepEqual(
    pushedOut,
    queues.queue.slice(0, 3).map(({ id }) => id),
  );
});
