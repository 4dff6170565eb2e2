import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { SerialSet, serialBytes, serialText } from './serial-set.ts';

const serial = fc
  .uint8Array({ minLength: 1, maxLength: 20 })
  .filter(([first]) => first !== 0)
  .map((bytes) => Buffer.from(bytes));

test('it is a set, before and after it was sent', () => {
  fc.assert(
    fc.property(
      fc.array(serial, { maxLength: 200 }),
      fc.array(fc.nat(199), { maxLength: 50 }),
      fc.array(serial, { maxLength: 50 }),
      (added, removed, others) => {
        const set = SerialSet.for(added.length, 20);
        const model = new Set<string>();
        for (const each of added) {
          set.add(each);
          model.add(serialText(each));
        }
        for (const at of removed) {
          const gone = added[at];
          if (gone === undefined) continue;
          set.delete(gone);
          model.delete(serialText(gone));
        }
        for (const each of [set, SerialSet.unpack(set.pack())]) {
          assert.equal(each.size, model.size);
          assert.deepEqual(new Set([...each.values()].map(serialText)), model);
          for (const other of [...added, ...others]) {
            assert.equal(each.has(other), model.has(serialText(other)));
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('the text of a serial number is that of certificates', () => {
  for (const text of ['1', 'ab', '100', 'ff00']) assert.equal(serialText(serialBytes(text)), text);
});

test('numbers that follow each other and random ones find their places', () => {
  const count = 20_000;
  const set = SerialSet.for(2 * count, 16);
  for (let n = 1; n <= count; n += 1) set.add(serialBytes(n.toString(16)));
  for (let n = 0; n < count; n += 1) set.add(Buffer.concat([Buffer.of(1), randomBytes(15)]));
  assert.equal(set.size, 2 * count);
});

test('more than there is room for, longer than there is room for, and nothing: refused', () => {
  const set = SerialSet.for(1, 2);
  assert.throws(() => set.add(Buffer.of(1, 2, 3)), { code: 'malformed' });
  assert.throws(() => set.add(Buffer.alloc(0)), { code: 'malformed' });
  assert.throws(
    () => {
      for (let n = 1; n < 100; n += 1) set.add(Buffer.of(n));
    },
    { code: 'malformed' },
  );
  assert.equal(set.has(Buffer.of(1, 2, 3)), false);
  assert.equal(set.has(Buffer.alloc(0)), false);
});

test('what is no table is refused', () => {
  const good = SerialSet.for(10, 4).pack();
  for (const bad of [{ width: 1 }, { width: 30 }, { width: 4 }, { table: '' }]) {
    assert.throws(() => SerialSet.unpack({ ...good, ...bad }), { code: 'malformed' });
  }
});
