import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SourceFailures } from './source-failures.ts';
import { Turnstile } from './turnstile.ts';

interface Visitor {
  readonly network: string;
  outcome: string | undefined;
  enter(): void;
  refuse(reason: string): void;
}

/** The event loop's hands are the test's: each turn of ten milliseconds takes as long as the work in it. */
function setUp(t: TestContext, changed = {}) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let now = 0;
  const limits = {
    handshakesPerSecond: 400,
    eventLoopDelayMs: 50,
    admissionQueue: 100,
    admissionWaitMs: 5_000,
    sourceFailures: 3,
    sourceSlowedPerSecond: 2,
    ...changed,
  };
  const clock = { now: () => now, monotonic: () => now };
  const failures = new SourceFailures({ clock, limits: () => limits });
  const turnstile = new Turnstile({ clock, limits: () => limits, failures });
  t.after(() => turnstile.close());
  const comes = (network: string): Visitor => {
    const visitor: Visitor = {
      network,
      outcome: undefined,
      enter: () => void (visitor.outcome = 'in'),
      refuse: (reason) => void (visitor.outcome = reason),
    };
    turnstile.admit(visitor);
    return visitor;
  };
  /** Turns of the loop, each late by so much. */
  const pass = (ms: number, lateMs = 0): void => {
    for (const until = now + ms; now < until;) {
      now += 10 + lateMs;
      t.mock.timers.tick(10);
    }
  };
  return { turnstile, failures, comes, pass, limits };
}

const inside = (visitors: readonly Visitor[]): number =>
  visitors.filter(({ outcome }) => outcome === 'in').length;
const many = (count: number, comes: (network: string) => Visitor, network = 'a'): Visitor[] =>
  Array.from({ length: count }, () => comes(network));

test('a connection that comes alone does not wait', (t) => {
  const { comes, pass } = setUp(t);
  for (let n = 0; n < 20; n += 1) {
    assert.equal(comes('a').outcome, 'in');
    pass(100);
  }
});

test('a herd after a quiet time finds nothing saved up', (t) => {
  const { comes, pass } = setUp(t);
  many(50, comes);
  pass(10_000);
  assert.equal(comes('a').outcome, 'in');
  pass(10_000);
  assert.ok(inside(many(50, comes)) <= 2, 'nobody runs the door over');
});

test('a herd comes in at the pace of the ceiling, first come first served', (t) => {
  const { turnstile, comes, pass } = setUp(t, { admissionQueue: 1_000, admissionWaitMs: 60_000 });
  const herd = many(1_000, comes);
  assert.ok(inside(herd) < 20, 'nobody runs the door over');
  pass(1_000);
  const first = inside(herd);
  assert.ok(first >= 90 && first <= 400, `${first} in the first second`);
  pass(2_000);
  assert.ok(inside(herd) - first <= 800);
  const order = herd.map(({ outcome }) => outcome);
  assert.equal(order.lastIndexOf('in') + 1, inside(herd), 'nobody is passed over');
  pass(2_000);
  assert.equal(inside(herd), 1_000);
  assert.equal(turnstile.waiting, 0);
});

test('while the loop is late fewer come in, and more again when it is not', (t) => {
  const { turnstile, comes, pass } = setUp(t, { admissionQueue: 10_000, admissionWaitMs: 600_000 });
  const herd = many(5_000, comes);
  pass(3_000);
  assert.equal(turnstile.perSecond, 400);
  pass(6_000, 60);
  const before = inside(herd);
  pass(5_000, 60);
  const perSecond = (inside(herd) - before) / 5;
  // A tenth of the ceiling, also when the loop has no more than fourteen turns a second.
  assert.ok(perSecond >= 38 && perSecond <= 42, `${perSecond} a second`);
  pass(5_000);
  assert.equal(turnstile.perSecond, 400);
});

test('a loop that is late by less than the limit changes nothing', (t) => {
  const { turnstile, comes, pass } = setUp(t, { admissionQueue: 10_000, admissionWaitMs: 600_000 });
  many(5_000, comes);
  pass(5_000, 40);
  assert.equal(turnstile.perSecond, 400);
});

test('a flood from one network keeps no other waiting', (t) => {
  const { comes, pass } = setUp(t);
  const flood = many(150, comes, 'flood');
  assert.ok(flood.some(({ outcome }) => outcome === 'queue-full'));
  const other = comes('b');
  assert.equal(other.outcome, undefined);
  pass(30);
  assert.equal(other.outcome, 'in');
});

test('who has waited for too long is turned away', (t) => {
  const { turnstile, comes, pass } = setUp(t, {
    handshakesPerSecond: 1,
    admissionWaitMs: 1_000,
  });
  const herd = many(50, comes);
  pass(1_500);
  assert.ok(inside(herd) < 5);
  assert.equal(herd.filter(({ outcome }) => outcome === 'queue-wait').length, 50 - inside(herd));
  assert.equal(turnstile.waiting, 0);
});

test('who leaves while it waits is not let in', (t) => {
  const { turnstile, comes, pass } = setUp(t);
  const herd = many(50, comes);
  const last = herd.at(-1);
  assert.ok(last !== undefined);
  turnstile.leave(last);
  pass(3_000);
  assert.deepEqual([inside(herd), last.outcome, turnstile.waiting], [49, undefined, 0]);
});

test('a network whose handshakes fail is let in slowly, the others as before, and it recovers', (t) => {
  const { failures, comes, pass } = setUp(t);
  for (let n = 0; n < 5; n += 1) failures.failed('bad');
  const slowed = many(20, comes, 'bad');
  // Two a second for five seconds is all that could be served in time.
  assert.equal(slowed.filter(({ outcome }) => outcome === 'source-failures').length, 10);
  assert.equal(comes('good').outcome, undefined, 'it has its turn');
  pass(1_000);
  assert.ok(inside(slowed) >= 1 && inside(slowed) <= 3, `${inside(slowed)} in the first second`);
  for (let n = 0; n < 3; n += 1) failures.succeeded('bad');
  pass(1_000);
  assert.equal(inside(slowed), 10, 'what succeeds pays back');
});

test('a network is forgiven in time, whatever it did', (t) => {
  const { failures, pass } = setUp(t);
  for (let n = 0; n < 10_000; n += 1) failures.failed('bad');
  assert.equal(failures.isSlowed('bad'), true);
  pass(119_000);
  assert.equal(failures.isSlowed('bad'), true);
  pass(2_000);
  assert.equal(failures.isSlowed('bad'), false);
});
