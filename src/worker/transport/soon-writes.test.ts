import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { mostSoonBytes, SoonWrites } from './soon-writes.ts';
import { departAtTurnEnd } from './turn-end.ts';

function setUp() {
  const written: string[] = [];
  const writes = new SoonWrites((bytes) => void written.push(bytes.toString('latin1')));
  return { written, writes };
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

test('what is written in one turn is one write at its end', async () => {
  const { written, writes } = setUp();
  for (const text of ['a', 'bc', 'd']) assert.equal(writes.add(bytes(text)), true);
  assert.deepEqual([written, writes.pendingBytes], [[], 4]);
  await Promise.resolve();
  assert.deepEqual(written, []);
  await nextTurn();
  assert.deepEqual([written, writes.pendingBytes], [['abcd'], 0]);
  assert.equal(writes.add(bytes('e')), true);
  await nextTurn();
  assert.deepEqual(written, ['abcd', 'e']);
});

test('what is alone is written as it is', async () => {
  const written: Buffer[] = [];
  const writes = new SoonWrites((given) => void written.push(given));
  const alone = bytes('alone');
  writes.add(alone);
  await nextTurn();
  assert.equal(written[0], alone);
});

test('no more than a record waits', async () => {
  const { written, writes } = setUp();
  assert.equal(writes.add(Buffer.alloc(mostSoonBytes + 1)), false);
  assert.equal(writes.add(Buffer.alloc(mostSoonBytes - 1)), true);
  assert.equal(writes.add(bytes('ab')), false);
  assert.equal(writes.add(bytes('c')), true);
  assert.equal(writes.pendingBytes, mostSoonBytes);
  writes.flush();
  assert.equal(writes.add(bytes('d')), true);
  assert.equal(written[0]?.length, mostSoonBytes);
  await nextTurn();
  assert.deepEqual(written.slice(1), ['d']);
});

test('what was flushed is not written again, and what comes after it in the same turn still is', async () => {
  const { written, writes } = setUp();
  writes.add(bytes('a'));
  writes.flush();
  writes.flush();
  writes.add(bytes('b'));
  assert.deepEqual(written, ['a']);
  await nextTurn();
  assert.deepEqual(written, ['a', 'b']);
});

test('what was dropped is never written, and nothing of it is kept', async () => {
  const { written, writes } = setUp();
  writes.add(bytes('a'));
  writes.drop();
  assert.equal(writes.pendingBytes, 0);
  await nextTurn();
  writes.add(bytes('b'));
  await nextTurn();
  assert.deepEqual(written, ['b']);
});

test('all of a turn depart together, in order; who joins meanwhile departs with the next one', async () => {
  const departed: string[] = [];
  const late = { depart: () => void departed.push('late') };
  departAtTurnEnd({
    depart: () => {
      departed.push('first');
      departAtTurnEnd(late);
    },
  });
  departAtTurnEnd({ depart: () => void departed.push('second') });
  assert.deepEqual(departed, []);
  await nextTurn();
  assert.deepEqual(departed, ['first', 'second']);
  await nextTurn();
  assert.deepEqual(departed, ['first', 'second', 'late']);
});
