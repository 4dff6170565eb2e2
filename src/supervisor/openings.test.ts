import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Openings } from './openings.ts';
import { tickMs } from './silence-limits.ts';

/** What was said, `a hold 1` and the like, since it was asked for last. */
function world() {
  let said: string[] = [];
  const woken: string[] = [];
  const sleepers = new Set<string>();
  const openings = new Openings<string>({
    tell: (worker, message) => {
      const number = message.type === 'hold' ? ` ${message.opening}` : '';
      said.push(`${worker} ${message.type}${number}`);
    },
    welcome: (worker) => said.push(`${worker} welcome`),
    late: (worker, why) => said.push(`${worker}: ${why}`),
    wake: (workers) => {
      if (workers.length > 0) woken.push(workers.join(' '));
      return workers.filter((worker) => sleepers.has(worker));
    },
  });
  return {
    openings,
    woken,
    sleepers,
    up: (worker: string) => openings.heard(worker, { type: 'up' }),
    held: (worker: string, opening: number) => openings.heard(worker, { type: 'held', opening }),
    joined: (worker: string) => openings.heard(worker, { type: 'joined' }),
    said: (): string[] => {
      const all = said;
      said = [];
      return all;
    },
    after: (ms: number): void => {
      for (let passed = 0; passed < ms; passed += tickMs) openings.tick();
    },
  };
}

/** These have the store open. */
function opened(...workers: readonly string[]) {
  const all = world();
  for (const worker of workers) all.up(worker);
  for (const [i, worker] of workers.entries()) {
    for (const other of workers.slice(0, i)) all.held(other, i + 1);
    all.joined(worker);
  }
  all.said();
  return all;
}

test('the first worker is welcomed at once', () => {
  const { up, joined, said } = world();
  up('a');
  assert.deepEqual(said(), ['a welcome']);
  joined('a');
  assert.deepEqual(said(), []);
});

test('a worker is welcomed when all others hold, and these go on when it has opened the store', () => {
  const { up, held, joined, said } = opened('a', 'b');
  up('c');
  assert.deepEqual(said(), ['a hold 3', 'b hold 3']);
  held('b', 3);
  held('b', 3);
  held('a', 2);
  assert.deepEqual(said(), []);
  held('a', 3);
  assert.deepEqual(said(), ['c welcome']);
  joined('c');
  assert.deepEqual(said(), ['a go-on', 'b go-on']);
});

test('one that has ended writes nothing any more', () => {
  const { up, held, openings, said } = opened('a', 'b');
  up('c');
  held('a', 3);
  said();
  openings.ended('b');
  assert.deepEqual(said(), ['c welcome']);
});

test('two that come up at once open the store one after the other', () => {
  const { up, held, joined, said } = opened('a');
  up('b');
  up('c');
  held('a', 2);
  assert.deepEqual(said(), ['a hold 2', 'b welcome']);
  joined('b');
  assert.deepEqual(said(), ['a go-on', 'a hold 3', 'b hold 3']);
});

test('all go on when one ends that was opening the store, or waited for it', () => {
  const { up, held, openings, said } = opened('a');
  up('b');
  up('c');
  openings.ended('c');
  held('a', 2);
  openings.ended('b');
  assert.deepEqual(said(), ['a hold 2', 'b welcome', 'a go-on']);
  up('d');
  openings.ended('d');
  assert.deepEqual(said(), ['a hold 3', 'a go-on']);
});

test('nobody holds for long: after a rest it is tried again, with more time to answer', () => {
  const { up, held, said, after } = opened('a', 'b');
  up('c');
  held('a', 3);
  after(1_000);
  assert.deepEqual(said(), ['a hold 3', 'b hold 3']);
  after(tickMs);
  assert.deepEqual(said(), ['a go-on', 'b go-on']);
  held('b', 3);
  after(1_000 - tickMs);
  assert.deepEqual(said(), []);
  after(tickMs);
  assert.deepEqual(said(), ['a hold 4', 'b hold 4']);
  after(2_000);
  held('a', 4);
  assert.deepEqual(said(), []);
  held('b', 4);
  assert.deepEqual(said(), ['c welcome']);
});

test('one that does not open the store in time is late, once, and all go on at its end', () => {
  const { up, held, openings, said, after } = opened('a');
  up('b');
  held('a', 2);
  after(10_000);
  assert.deepEqual(said(), ['a hold 2', 'b welcome']);
  after(2 * tickMs);
  assert.deepEqual(said(), ['b: it did not open the store']);
  openings.ended('b');
  assert.deepEqual(said(), ['a go-on']);
});

test('one that answers no attempt for most of a minute is late; one that answers too late is not', () => {
  const { up, held, said, after } = opened('a', 'b', 'c');
  up('d');
  const late: string[] = [];
  for (let seconds = 0; seconds < 60; seconds += 1) {
    after(1_000);
    const now = said();
    const [asked] = now.flatMap((line) => (/^c hold (\d+)$/.exec(line) ?? []).slice(1, 2));
    held('a', Number(asked));
    if (asked !== undefined) held('b', Number(asked) - 1);
    late.push(...now.filter((line) => line.includes(':')));
  }
  assert.deepEqual([...new Set(late)], ['c: it did not stop writing']);
});

test('a worker that says twice that it is up is welcomed once, and what it says out of turn is nothing', () => {
  const { up, held, joined, said } = opened('a');
  up('a');
  up('b');
  up('b');
  joined('b');
  held('b', 2);
  assert.deepEqual(said(), ['a hold 2']);
  held('a', 2);
  up('b');
  joined('a');
  assert.deepEqual(said(), ['b welcome']);
});

test('who has the store open looks at its lock again when another such worker has ended', () => {
  const { openings, up, woken, sleepers } = opened('a', 'b', 'c', 'e');
  up('d');
  openings.ended('d');
  assert.deepEqual(woken, [], 'it had not opened the store');
  sleepers.add('c').add('e');
  const second = (): void => {
    for (let ms = 0; ms < 1_000; ms += tickMs) openings.tick();
  };
  openings.ended('b');
  second();
  openings.ended('c');
  sleepers.clear();
  for (let n = 0; n < 3; n += 1) second();
  assert.deepEqual(woken, ['a c e', 'c e', 'a e', 'e']);
});
