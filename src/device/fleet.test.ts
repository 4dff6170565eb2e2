import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { spread } from './fleet.ts';
import type { Protocol } from './link.ts';

test('a fleet is spread over its protocols as evenly as its number allows', () => {
  const lists: Protocol[][] = [['mqtts'], ['https'], ['mqtts', 'https'], ['https', 'mqtts']];
  fc.assert(
    fc.property(fc.nat(5_000), fc.constantFrom(...lists), (count, over) => {
      const assigned = spread(count, over);
      assert.equal(assigned.length, count);
      const counts = over.map((protocol) => assigned.filter((each) => each === protocol).length);
      assert.equal(
        counts.reduce((sum, each) => sum + each, 0),
        count,
      );
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1);
    }),
  );
  assert.deepEqual(spread(3, ['mqtts', 'https']), ['mqtts', 'https', 'mqtts']);
});
