/** The behaviour that every backend of `OnceStore` has: run by the test of each. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { OnceStore } from '../credentials/ports.ts';
import { onceKeyBytes } from '../credentials/ports.ts';

export interface MadeOnce {
  readonly store: OnceStore;
  dispose(): Promise<void>;
}

/** @param makeStore an empty store that tells the time by `clock`. */
export function onceStoreContract(
  backend: string,
  makeStore: (clock: Clock) => Promise<MadeOnce> | MadeOnce,
): void {
  const it = (
    behaviour: string,
    body: (store: OnceStore, hands: { now: number }) => Promise<void>,
  ): void => {
    void test(`${backend}: ${behaviour}`, async () => {
      const hands = { now: 1_000_000 };
      const made = await makeStore({ now: () => hands.now, monotonic: () => hands.now });
      try {
        await body(made.store, hands);
      } finally {
        await made.dispose();
      }
    });
  };
  const key = (name: string): Buffer => Buffer.from(name.padEnd(onceKeyBytes));

  it('a key is new once, whatever its bytes', async (store) => {
    const keys = [key('a'), key('b'), Buffer.alloc(onceKeyBytes), Buffer.alloc(onceKeyBytes, 0xff)];
    for (const durability of ['process', 'flushed'] as const) {
      for (const each of keys) {
        assert.equal(
          await store.putIfAbsent(each, 2_000_000, durability),
          durability === 'process',
        );
      }
    }
  });

  it('of many at once with one key one is the first', async (store) => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, () => store.putIfAbsent(key('a'), 2_000_000, 'process')),
    );
    assert.equal(outcomes.filter(Boolean).length, 1);
  });

  it('a key is absent from the moment at which it expires', async (store, hands) => {
    assert.equal(await store.putIfAbsent(key('a'), 1_000_500, 'process'), true);
    hands.now = 1_000_499;
    assert.equal(await store.putIfAbsent(key('a'), 1_000_900, 'process'), false);
    hands.now = 1_000_500;
    const both = [1_001_000, 1_001_000].map((at) => store.putIfAbsent(key('a'), at, 'process'));
    assert.equal((await Promise.all(both)).filter(Boolean).length, 1);
    hands.now = 1_000_999;
    assert.equal(await store.putIfAbsent(key('a'), 1_002_000, 'process'), false);
  });

  it('sweeping removes what has expired, once, and nothing else', async (store, hands) => {
    const put = (name: string, expiresAt: number) =>
      store.putIfAbsent(key(name), expiresAt, 'process');
    await Promise.all([put('a', 1_000_100), put('b', 1_000_100), put('late', 1_000_200)]);
    await put('c', 1_000_150);
    await put('d', 1_900_000);
    assert.equal(await store.sweep(), 0);
    hands.now = 1_000_100;
    assert.equal(await put('a', 1_900_000), true, 'put again before it was swept');
    hands.now = 1_000_201;
    assert.equal(await store.sweep(), 3);
    assert.equal(await store.sweep(), 0);
    assert.equal(await put('a', 1_900_000), false);
    assert.equal(await put('d', 1_900_000), false);
    assert.equal(await put('b', 1_900_000), true);
    assert.equal(await put('late', 1_900_000), true);
  });

  it('many are put and swept', async (store, hands) => {
    const keys = Array.from({ length: 700 }, () => randomBytes(onceKeyBytes));
    const outcomes = await Promise.all(
      keys.map((each) => store.putIfAbsent(each, 1_000_100, 'process')),
    );
    assert.ok(outcomes.every(Boolean));
    hands.now = 1_000_101;
    assert.equal(await store.sweep(), 700);
  });

  it('a key of another length is a mistake', async (store) => {
    for (const bytes of [0, 15, 17]) {
      await assert.rejects(
        store.putIfAbsent(Buffer.alloc(bytes), 2_000_000, 'process'),
        (error: unknown) => error instanceof SallyportError && error.code === 'usage',
      );
    }
  });

  it('any history is that of a map with expiries', async (store, hands) => {
    const step = fc.oneof(
      fc.record({ put: fc.integer({ min: 0, max: 4 }), ttl: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ pass: fc.integer({ min: 0, max: 40 }) }),
      fc.constant({ sweep: true }),
    );
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        round += 1;
        const model = new Map<number, number>();
        for (const each of steps) {
          if ('put' in each) {
            const isNew = (model.get(each.put) ?? 0) <= hands.now;
            if (isNew) model.set(each.put, hands.now + each.ttl);
            const name = key(`${round} ${each.put}`);
            const said = await store.putIfAbsent(name, hands.now + each.ttl, 'process');
            assert.equal(said, isNew);
          } else if ('pass' in each) hands.now += each.pass;
          else await store.sweep();
        }
      }),
      { numRuns: 30 },
    );
  });
}
