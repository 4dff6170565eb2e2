/** The behaviour that every backend of `KeyValueStore` has: run by the test of each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { compareKeys, maxKeyBytes } from './keys.ts';
import type { KeyValueStore } from './ports.ts';

export interface MadeStore {
  readonly store: KeyValueStore;
  dispose(): Promise<void>;
}

/** @param makeStore an empty store that tells the time by `clock`. */
export function keyValueStoreContract(
  backend: string,
  makeStore: (clock: Clock) => Promise<MadeStore> | MadeStore,
): void {
  const it = (
    behaviour: string,
    body: (store: KeyValueStore, hands: { now: number }) => Promise<void>,
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
  const put = (store: KeyValueStore, key: string, value: string, expiresAt?: number) =>
    store.commit(
      [],
      [{ key, value: Buffer.from(value), ...(expiresAt === undefined ? {} : { expiresAt }) }],
      'process',
    );
  const read = async (store: KeyValueStore, key: string) =>
    (await store.get(key))?.value.toString();
  const keys = async (store: KeyValueStore, prefix: string) => {
    const found: string[] = [];
    for await (const entry of store.scan(prefix)) found.push(entry.key);
    return found;
  };

  it('what was put is read back, replaced and deleted', async (store) => {
    assert.equal(await store.get('a'), undefined);
    assert.equal(await put(store, 'a', 'one'), true);
    assert.equal(await read(store, 'a'), 'one');
    assert.equal(await put(store, 'a', ''), true);
    assert.equal(await read(store, 'a'), '');
    assert.equal(await store.commit([], [{ key: 'a', value: undefined }], 'flushed'), true);
    assert.equal(await store.get('a'), undefined);
    assert.equal(await store.commit([], [{ key: 'a', value: undefined }], 'flushed'), true);
  });

  it('values of any size and bytes come back as they were, and belong to the reader', async (store) => {
    for (const size of [1, 8, 4_087, 4_096, 70_000, 300_000, 1_100_000]) {
      const value = Buffer.alloc(size, size % 251);
      await store.commit([], [{ key: `size${size}`, value }], 'process');
    }
    const first = await store.get('size8');
    for (const size of [1, 8, 4_087, 4_096, 70_000, 300_000, 1_100_000]) {
      const entry = await store.get(`size${size}`);
      assert.ok(entry);
      assert.equal(entry.value.length, size);
      assert.ok(entry.value.every((byte) => byte === size % 251));
      entry.value.fill(255);
      assert.equal((await store.get(`size${size}`))?.value[0], size % 251);
    }
    assert.deepEqual(first?.value, Buffer.alloc(8, 8));
  });

  it('a condition on a version holds until the key is written again', async (store) => {
    await put(store, 'a', 'one');
    const before = await store.get('a');
    const set = (version: number | undefined, value: string) =>
      store.commit([{ key: 'a', version }], [{ key: 'a', value: Buffer.from(value) }], 'process');
    assert.equal(await set(before?.version, 'two'), true);
    assert.equal(await set(before?.version, 'three'), false);
    assert.equal(await set(undefined, 'three'), false);
    assert.equal(await read(store, 'a'), 'two');
  });

  it('a key that was deleted and put again does not look unchanged', async (store) => {
    await put(store, 'a', 'one');
    const before = await store.get('a');
    await store.commit([], [{ key: 'a', value: undefined }], 'process');
    await put(store, 'a', 'one');
    const outcome = await store.commit(
      [{ key: 'a', version: before?.version }],
      [{ key: 'a', value: Buffer.from('two') }],
      'process',
    );
    assert.equal(outcome, false);
  });

  it('of many who put a key if it is absent, one does', async (store) => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        store.commit(
          [{ key: 'nonce', version: undefined }],
          [{ key: 'nonce', value: Buffer.from(`${i}`) }],
          'process',
        ),
      ),
    );
    assert.equal(outcomes.filter(Boolean).length, 1);
    assert.equal(await read(store, 'nonce'), `${outcomes.indexOf(true)}`);
  });

  it('several writes happen together, or not at all when any condition fails', async (store) => {
    await put(store, 'a', 'one');
    const version = (await store.get('a'))?.version;
    const change = (conditions: { key: string; version: number | undefined }[]) =>
      store.commit(
        conditions,
        [
          { key: 'a', value: undefined },
          { key: 'b', value: Buffer.from('two') },
          { key: 'c', value: Buffer.from('three') },
        ],
        'process',
      );
    for (const conditions of [
      [
        { key: 'a', version: undefined },
        { key: 'b', version: undefined },
        { key: 'c', version: undefined },
      ],
      [
        { key: 'b', version: undefined },
        { key: 'a', version: undefined },
        { key: 'c', version: undefined },
      ],
      [
        { key: 'a', version },
        { key: 'b', version: 1 },
        { key: 'c', version: undefined },
      ],
      [
        { key: 'a', version },
        { key: 'b', version: undefined },
        { key: 'c', version: 1 },
      ],
    ]) {
      assert.equal(await change(conditions), false);
      assert.deepEqual(await keys(store, ''), ['a']);
    }
    assert.equal(
      await change([
        { key: 'a', version },
        { key: 'b', version: undefined },
        { key: 'c', version: undefined },
      ]),
      true,
    );
    assert.deepEqual(await keys(store, ''), ['b', 'c']);
  });

  it('concurrent counters lose nothing', async (store) => {
    await put(store, 'n', '0');
    const increment = async (): Promise<void> => {
      for (;;) {
        const entry = await store.get('n');
        const next = Number(entry?.value.toString()) + 1;
        const done = await store.commit(
          [{ key: 'n', version: entry?.version }],
          [{ key: 'n', value: Buffer.from(`${next}`) }],
          'process',
        );
        if (done) return;
      }
    };
    await Promise.all(Array.from({ length: 8 }, increment));
    assert.equal(await read(store, 'n'), '8');
  });

  it('an entry is absent from its expiry on, for reading, conditions and scans', async (store, hands) => {
    await put(store, 'a', 'short', hands.now + 10);
    await put(store, 'b', 'long', hands.now + 1_000);
    hands.now += 9;
    assert.equal(await read(store, 'a'), 'short');
    hands.now += 1;
    assert.equal(await store.get('a'), undefined);
    assert.deepEqual(await keys(store, ''), ['b']);
    const again = await store.commit(
      [{ key: 'a', version: undefined }],
      [{ key: 'a', value: Buffer.from('new') }],
      'process',
    );
    assert.equal(again, true);
    assert.equal(await read(store, 'a'), 'new');
  });

  it('a sweep removes what has expired and nothing else', async (store, hands) => {
    for (let i = 0; i < 5; i += 1) await put(store, `short${i}`, 'x', hands.now + 10);
    await put(store, 'long', 'x', hands.now + 1_000);
    await put(store, 'ever', 'x');
    await put(store, 'renewed', 'x', hands.now + 10);
    await put(store, 'renewed', 'x', hands.now + 1_000);
    await put(store, 'settled', 'x', hands.now + 10);
    await put(store, 'settled', 'x');
    assert.equal(await store.sweep(100), 0);
    hands.now += 10;
    assert.ok((await store.sweep(3)) <= 3);
    let removed: number;
    let rounds = 0;
    do {
      removed = await store.sweep(100);
      rounds += 1;
    } while (removed > 0 && rounds < 10);
    assert.deepEqual(await keys(store, ''), ['ever', 'long', 'renewed', 'settled']);
    hands.now -= 10;
    assert.equal(await store.get('short0'), undefined, 'gone and not only hidden');
  });

  it('a scan gives the keys with a prefix in the order of their bytes', async (store) => {
    const some = ['a', 'a/b', 'a\u{ffff}', 'a\u{10000}', 'ab', 'b', '__proto__', 'é'];
    for (const key of some) await put(store, key, key);
    assert.deepEqual(await keys(store, ''), some.toSorted(compareKeys));
    assert.deepEqual(await keys(store, 'a/'), ['a/b']);
    assert.deepEqual(await keys(store, 'zz'), []);
    assert.deepEqual(await keys(store, '__proto__'), ['__proto__']);
  });

  it('a long scan lets others in and lives with changes under way', async (store) => {
    const writes = Array.from({ length: 500 }, (_, i) => ({
      key: `k${String(i).padStart(4, '0')}`,
      value: Buffer.from('x'),
    }));
    await store.commit([], writes, 'process');
    const seen: string[] = [];
    for await (const { key } of store.scan('k')) {
      if (seen.length === 0)
        await store.commit([], [{ key: 'k0499', value: undefined }], 'process');
      seen.push(key);
    }
    assert.deepEqual(
      seen.slice(0, 499),
      writes.slice(0, 499).map(({ key }) => key),
    );
  });

  it('a key that is empty, too long or not well-formed is refused', async (store) => {
    const usage = (error: unknown) => error instanceof SallyportError && error.code === 'usage';
    for (const key of ['', 'x'.repeat(maxKeyBytes + 1), '\ud800']) {
      await assert.rejects(store.get(key), usage);
      await assert.rejects(put(store, key, 'x'), usage);
    }
    const longest = 'x'.repeat(maxKeyBytes);
    await put(store, longest, 'x', 2_000_000);
    assert.equal(await read(store, longest), 'x');
  });

  it('a closed store refuses everything', async (store) => {
    await store.close();
    const io = (error: unknown) => error instanceof SallyportError && error.code === 'io';
    await assert.rejects(store.get('a'), io);
    await assert.rejects(put(store, 'a', 'x'), io);
    await assert.rejects(store.sweep(1), io);
    await assert.rejects(keys(store, ''), io);
  });

  it('behaves like a map under any sequence of writes', async (store) => {
    const key = fc.constantFrom('a', 'b', 'constructor', 'a/b');
    const step = fc.record({
      key,
      value: fc.option(fc.string({ maxLength: 5 }), { nil: undefined }),
      on: fc.option(fc.record({ key, fresh: fc.boolean() }), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        for (const name of ['a', 'b', 'constructor', 'a/b']) {
          await store.commit([], [{ key: name, value: undefined }], 'process');
        }
        const model = new Map<string, string>();
        for (const { key: name, value, on } of steps) {
          const condition = [];
          if (on !== undefined) {
            const entry = await store.get(on.key);
            condition.push({ key: on.key, version: on.fresh ? entry?.version : 0.5 });
          }
          const bytes = value === undefined ? undefined : Buffer.from(value);
          const done = await store.commit(condition, [{ key: name, value: bytes }], 'process');
          assert.equal(done, on === undefined || on.fresh);
          if (!done) continue;
          if (value === undefined) model.delete(name);
          else model.set(name, Buffer.from(value).toString());
        }
        assert.deepEqual(await keys(store, ''), [...model.keys()].toSorted(compareKeys));
        for (const [name, value] of model) assert.equal(await read(store, name), value);
      }),
      { numRuns: 25 },
    );
  });
}
