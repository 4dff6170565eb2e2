import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { DueTimes } from './due-times.ts';

test('keys come out in the order of their last times, each once', () => {
  const step = fc.oneof(
    fc.record({ set: fc.constantFrom('a', 'b', 'c', 'd', 'e', '__proto__'), at: fc.nat(20) }),
    fc.record({ take: fc.nat(20) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const due = new DueTimes();
      const model = new Map<string, number>();
      for (const one of steps) {
        if ('set' in one) {
          due.set(one.set, one.at);
          model.set(one.set, one.at);
        } else {
          const earliest = Math.min(...model.values());
          const key = due.take(one.take);
          assert.equal(key !== undefined, earliest <= one.take);
          if (key === undefined) continue;
          assert.equal(model.get(key), earliest);
          model.delete(key);
        }
        assert.equal(due.next, model.size === 0 ? undefined : Math.min(...model.values()));
      }
    }),
  );
});
