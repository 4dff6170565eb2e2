/** The behaviour that every backend of `SpoolStore` has: run by the test of each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { SpoolRange, SpoolStore } from '../routes/ports.ts';

export interface MadeSpools {
  readonly store: SpoolStore & { close(): void };
  dispose(): Promise<void>;
}

const everything: SpoolRange = {
  from: 0,
  to: 256,
  limit: 1_000,
  bytes: 10_000_000,
  skip: new Set(),
};

/** @param makeStore an empty store that tells the time by `micros`, which does not go on by itself. */
export function spoolStoreContract(
  backend: string,
  makeStore: (micros: () => number) => MadeSpools,
): void {
  const it = (
    behaviour: string,
    body: (store: MadeSpools['store'], hands: { micros: number }) => Promise<void>,
  ): void => {
    void test(`${backend}: ${behaviour}`, async () => {
      const hands = { micros: 1_000 };
      const made = makeStore(() => hands.micros);
      try {
        made.store.open('s');
        await body(made.store, hands);
      } finally {
        await made.dispose();
      }
    });
  };
  const add = async (store: SpoolStore, partition: number, text: string): Promise<string> => {
    const id = store.newId(partition);
    await store.append([{ spool: 's', id, value: Buffer.from(text) }], 'process');
    return id;
  };
  const read = async (store: SpoolStore, range: Partial<SpoolRange> = {}) =>
    (await store.read('s', { ...everything, ...range })).map(({ value }) => value.toString());
  const dead = async (store: SpoolStore, after = '', limit = 1_000) =>
    (await store.deadLetters('s', after, limit)).map(({ value }) => value.toString());

  it('ids rise and never come twice, whatever the clock does', async (store, hands) => {
    const ids: string[] = [];
    for (let i = 0; i < 70_000; i += 1) {
      if (i % 1_000 === 0) hands.micros += (i % 3_000) - 900;
      ids.push(store.newId(i % 256));
    }
    for (const [i, id] of ids.entries()) {
      assert.match(id, /^[0-9a-f]{24}$/);
      if (i > 0) assert.ok(id.slice(0, 22) > (ids[i - 1] ?? '').slice(0, 22), `${i}`);
    }
  });

  it('gives what waits by partition, then in the order of the ids', async (store) => {
    for (const [partition, text] of [
      [255, 'a'],
      [0, 'b'],
      [7, 'c'],
      [0, 'd'],
      [255, 'e'],
      [7, 'f'],
    ] as const) {
      await add(store, partition, text);
    }
    assert.deepEqual(await read(store), ['b', 'd', 'c', 'f', 'a', 'e']);
    assert.deepEqual(await read(store, { from: 1, to: 255 }), ['c', 'f']);
    assert.deepEqual(await read(store, { from: 8 }), ['a', 'e']);
    assert.deepEqual(await read(store, { to: 7, limit: 1 }), ['b']);
    const partitions = (await store.read('s', everything)).map(({ partition }) => partition);
    assert.deepEqual(partitions, [0, 0, 7, 7, 255, 255]);
  });

  it('what is committed late, with an older id, is read at its place', async (store) => {
    const older = store.newId(3);
    await add(store, 3, 'later');
    await store.append([{ spool: 's', id: older, value: Buffer.from('earlier') }], 'process');
    assert.deepEqual(await read(store), ['earlier', 'later']);
  });

  it('a read is bounded in bytes and always gives one', async (store) => {
    for (let i = 0; i < 5; i += 1) await add(store, 1, `${i}`.repeat(1_000));
    assert.equal((await read(store, { bytes: 1 })).length, 1);
    assert.equal((await read(store, { bytes: 2_000 })).length, 2);
    assert.equal((await read(store, { bytes: 2_001 })).length, 3);
  });

  it('what is skipped is neither given nor counted', async (store) => {
    const ids: string[] = [];
    for (let i = 0; i < 6; i += 1) ids.push(await add(store, 1, `${i}`));
    const skip = new Set([ids[0] ?? '', ids[2] ?? '', ids[3] ?? '', 'f'.repeat(24)]);
    assert.deepEqual(await read(store, { skip }), ['1', '4', '5']);
    assert.deepEqual(await read(store, { skip, limit: 2 }), ['1', '4']);
    assert.deepEqual(await read(store, { skip, bytes: 2 }), ['1', '4']);
    assert.deepEqual(await read(store, { skip: new Set(ids) }), []);
  });

  it('values of any size come back as they were', async (store) => {
    const sizes = [0, 1, 4_096, 70_000, 1_100_000];
    for (const size of sizes) {
      const id = store.newId(1);
      await store.append([{ spool: 's', id, value: Buffer.alloc(size, size % 251) }], 'flushed');
    }
    const values = (await store.read('s', everything)).map(({ value }) => value);
    for (const [i, size] of sizes.entries()) {
      assert.deepEqual(values[i], Buffer.alloc(size, size % 251));
    }
  });

  it('one message for several spools is in all of them or in none', async (store) => {
    store.open('t');
    const id = store.newId(1);
    const value = Buffer.from('x');
    await assert.rejects(
      store.append(
        [
          { spool: 's', id, value },
          { spool: 'unknown', id, value },
        ],
        'process',
      ),
      (error: unknown) => error instanceof SallyportError && error.code === 'not-found',
    );
    assert.deepEqual(await read(store), []);
    await store.append(
      [
        { spool: 's', id, value },
        { spool: 't', id, value },
      ],
      'process',
    );
    assert.deepEqual(await read(store), ['x']);
    assert.equal((await store.read('t', everything))[0]?.id, id);
    assert.deepEqual(store.names().toSorted(), ['s', 't']);
  });

  it('what is settled is gone, once and for all', async (store) => {
    const ids = [await add(store, 1, 'a'), await add(store, 1, 'b'), await add(store, 2, 'c')];
    await store.settle('s', ids.slice(0, 2));
    assert.deepEqual(await read(store), ['c']);
    await store.settle('s', ids);
    assert.deepEqual(await read(store), []);
  });

  it('a refused message is a dead letter, restored it waits at its old place', async (store) => {
    const a = await add(store, 1, 'a');
    await add(store, 1, 'b');
    await store.refuse('s', a, Buffer.from('why not a'));
    assert.deepEqual(await read(store), ['b']);
    assert.deepEqual(await dead(store), ['why not a']);
    assert.equal((await store.deadLetter('s', a))?.value.toString(), 'why not a');
    assert.equal((await store.deadLetter('s', a))?.partition, 1);
    assert.equal(await store.restore('s', a, Buffer.from('a again')), true);
    assert.deepEqual(await read(store), ['a again', 'b']);
    assert.deepEqual(await dead(store), []);
    assert.equal(await store.restore('s', a, Buffer.from('twice')), false);
    assert.deepEqual(await read(store), ['a again', 'b']);
  });

  it('what does not wait any more cannot be refused', async (store) => {
    const a = await add(store, 1, 'a');
    await store.settle('s', [a]);
    await store.refuse('s', a, Buffer.from('late'));
    assert.deepEqual(await dead(store), []);
    assert.deepEqual(await read(store), []);
  });

  it('dead letters are listed oldest first over all partitions, and dropped', async (store, hands) => {
    const ids: string[] = [];
    for (const partition of [9, 200, 3, 0, 50]) {
      hands.micros += 1;
      const id = await add(store, partition, `${partition}`);
      ids.push(id);
      await store.refuse('s', id, Buffer.from(`${partition}`));
    }
    assert.deepEqual(await dead(store), ['9', '200', '3', '0', '50']);
    assert.deepEqual(await dead(store, ids[1], 2), ['3', '0']);
    assert.equal(await store.discard('s', [ids[2] ?? '', 'f'.repeat(24), 'no id', '']), 1);
    assert.equal(await store.discardOldest('s', 2), 2);
    assert.deepEqual(await dead(store), ['0', '50']);
    assert.equal(await store.discardOldest('s', 10), 2);
    assert.equal(await store.deadLetter('s', 'no id'), undefined);
  });

  it('knows how much there is', async (store) => {
    const empty = { messages: 0, bytes: 0, deadLetters: 0, deadLetterBytes: 0 };
    assert.deepEqual(await store.usage('s'), empty);
    const ids: string[] = [];
    for (let i = 0; i < 20; i += 1) ids.push(await add(store, i, 'x'.repeat(10_000)));
    const full = await store.usage('s');
    assert.equal(full.messages, 20);
    assert.ok(full.bytes >= 200_000 && full.bytes < 400_000, `${full.bytes}`);
    await store.refuse('s', ids[0] ?? '', Buffer.alloc(10_000));
    await store.settle('s', ids);
    const after = await store.usage('s');
    assert.deepEqual({ ...after, deadLetterBytes: 0 }, { ...empty, deadLetters: 1 });
    assert.ok(after.deadLetterBytes >= 10_000);
  });

  it('a spool that is not there, or a store that is closed, refuses everything', async (store) => {
    const id = store.newId(0);
    const value = Buffer.from('x');
    const calls = (spool: string): (() => Promise<unknown>)[] => [
      () => store.append([{ spool, id, value }], 'process'),
      () => store.read(spool, everything),
      () => store.settle(spool, [id]),
      () => store.usage(spool),
      () => store.refuse(spool, id, value),
      () => store.deadLetters(spool, '', 1),
      () => store.deadLetter(spool, id),
      () => store.restore(spool, id, value),
      () => store.discard(spool, [id]),
      () => store.discardOldest(spool, 1),
    ];
    const code = (expected: string) => (error: unknown) =>
      error instanceof SallyportError && error.code === expected;
    for (const call of calls('unknown')) await assert.rejects(call, code('not-found'));
    store.close();
    for (const call of calls('s')) await assert.rejects(call, code('io'));
  });

  it('behaves like a list under any sequence of changes', async (store) => {
    const step = fc.record({
      what: fc.constantFrom('add', 'add', 'add', 'settle', 'refuse', 'restore', 'discard'),
      partition: fc.constantFrom(0, 1, 255),
      at: fc.nat(20),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const old = (await store.read('s', everything)).map(({ id }) => id);
        await store.settle('s', old);
        await store.discardOldest('s', 1_000);
        const waiting: { id: string; text: string }[] = [];
        const refused: { id: string; text: string }[] = [];
        const take = (from: typeof waiting, at: number) => from.splice(at % (from.length || 1), 1);
        for (const { what, partition, at } of steps) {
          if (what === 'add') {
            const text = `${waiting.length}`;
            waiting.push({ id: await add(store, partition, text), text });
            continue;
          }
          const [one] = take(what === 'settle' || what === 'refuse' ? waiting : refused, at);
          if (one === undefined) continue;
          const value = Buffer.from(one.text);
          if (what === 'settle') await store.settle('s', [one.id]);
          if (what === 'discard') assert.equal(await store.discard('s', [one.id]), 1);
          if (what === 'refuse') {
            await store.refuse('s', one.id, value);
            refused.push(one);
          }
          if (what === 'restore') {
            assert.equal(await store.restore('s', one.id, value), true);
            waiting.push(one);
          }
        }
        const place = ({ id }: { id: string }) => id.slice(-2) + id;
        const order = (a: { id: string }, b: { id: string }) => (place(a) < place(b) ? -1 : 1);
        assert.deepEqual(
          await read(store),
          waiting.toSorted(order).map(({ text }) => text),
        );
        const byId = refused.toSorted((a, b) => (a.id < b.id ? -1 : 1));
        assert.deepEqual(
          await dead(store),
          byId.map(({ text }) => text),
        );
        assert.equal((await store.usage('s')).messages, waiting.length);
      }),
      { numRuns: 40 },
    );
  });
}
