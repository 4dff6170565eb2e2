import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { fc } from './property-test-support.ts';
import { TicketChain } from './ticket-chain.ts';

const hourMs = 3_600_000;
const now = 500_000 * hourMs;

test('processes that look at different times agree in every period', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 20 }),
      fc.integer({ min: 0, max: 50 }),
      fc.integer({ min: 0, max: 50 }),
      (looks, joined, last) => {
        const secret = randomBytes(32).toString('base64');
        const one = TicketChain.from(secret, hourMs, now);
        const supervisor = TicketChain.from(secret, hourMs, now);
        for (const at of looks.toSorted((a, b) => a - b)) one.secretAt(now + at * hourMs);
        const later = new TicketChain(supervisor.stateAt(now + joined * hourMs));
        const end = now + Math.max(last, joined, ...looks) * hourMs;
        assert.deepEqual(one.secretAt(end), later.secretAt(end));
      },
    ),
    { numRuns: 200 },
  );
});

test('a secret is replaced at the boundary of the wall clock, and not before', () => {
  const chain = TicketChain.from(randomBytes(32).toString('base64'), hourMs, now + 1);
  const first = Buffer.from(chain.secretAt(now + 1));
  assert.deepEqual(chain.secretAt(now + hourMs - 1), first);
  assert.equal(chain.untilNextMs(now + hourMs - 1), 1);
  assert.equal(chain.untilNextMs(now), hourMs);
  assert.notDeepEqual(chain.secretAt(now + hourMs), first);
});

test('what is gone does not come back, not in memory and not with the clock', () => {
  const chain = TicketChain.from(randomBytes(32).toString('base64'), hourMs, now);
  const first = chain.secretAt(now);
  const copy = Buffer.from(first);
  const second = Buffer.from(chain.secretAt(now + hourMs));
  assert.deepEqual(first, Buffer.alloc(32), 'the first secret is still in memory');
  assert.deepEqual(chain.secretAt(now), second);
  assert.notDeepEqual(second, copy);
});

test('a clock that is set after fifty years costs seconds at most', () => {
  const chain = TicketChain.from(randomBytes(32).toString('base64'), hourMs, 0);
  const began = performance.now();
  chain.secretAt(now);
  assert.ok(performance.now() - began < 10_000);
});
