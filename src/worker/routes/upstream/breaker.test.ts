import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServerBreaker } from './breaker.ts';
import type { Attempt } from './breaker.ts';

const failures = 3;
const openMs = 1_000;

function breaker(): ServerBreaker {
  return new ServerBreaker(() => ({ failures, openMs }));
}

function begun(b: ServerBreaker, caller: string, now: number): Attempt {
  const attempt = { caller };
  assert.ok(b.admits(caller, now), `${caller} at ${now}`);
  b.begin(attempt, now);
  return attempt;
}

/** A request that finds no connection. @returns whether the server is kept from everybody by it. */
function unreached(b: ServerBreaker, caller: string, now: number): boolean {
  return b.failed(begun(b, caller, now), now, false);
}

function provoked(b: ServerBreaker, caller: string, now: number): boolean {
  return b.failed(begun(b, caller, now), now, true);
}

test('failures in a row keep everybody away for a while, and any answer in between begins the row anew', () => {
  const b = breaker();
  for (const now of [1, 2]) assert.equal(unreached(b, 'd1', now), false);
  assert.equal(b.succeeded(begun(b, 'd1', 3)), false);
  for (const now of [4, 5]) assert.equal(unreached(b, 'd1', now), false);
  assert.equal(b.state(6), 'closed');
  assert.equal(unreached(b, 'd2', 6), true);
  assert.equal(b.state(7), 'open');
  assert.equal(b.admits('d3', 7), false);
  assert.equal(b.opensInMs('d3', 7), openMs - 1);
  assert.equal(b.admits('d3', 6 + openMs - 1), false);
  assert.equal(b.state(6 + openMs), 'half-open');
});

test('half open, one request at a time tries it', () => {
  const b = breaker();
  for (const now of [1, 2, 3]) unreached(b, 'd1', now);
  const late = 3 + openMs;
  const probe = begun(b, 'd1', late);
  assert.equal(b.admits('d2', late), false);
  // It came to nothing: another one may try.
  b.abandoned(probe);
  const second = begun(b, 'd2', late + 1);
  // What had been sent before it opened says nothing about it now.
  b.failed({ caller: 'd3' }, late + 2, false);
  b.abandoned({ caller: 'd3' });
  assert.equal(b.admits('d3', late + 2), false);
  assert.equal(b.failed(second, late + 3, false), false);
  assert.equal(b.state(late + 4), 'open');
  assert.equal(b.admits('d4', late + 3 + openMs - 1), false);
  assert.equal(b.succeeded(begun(b, 'd4', late + 3 + openMs)), true);
  assert.equal(b.state(late + 3 + openMs), 'closed');
  for (let i = 0; i < 5; i += 1) begun(b, 'd4', late + 4 + openMs);
});

test('half open, a request that takes its time keeps the others away no longer than an open breaker would', () => {
  const b = breaker();
  for (const now of [1, 2, 3]) unreached(b, 'd1', now);
  const late = 3 + openMs;
  const slow = begun(b, 'slow', late);
  assert.equal(b.admits('d2', late + openMs - 1), false);
  const next = begun(b, 'd2', late + openMs);
  assert.equal(b.admits('d3', late + openMs), false, 'one at a time all the same');
  // The one before says nothing any more when it fails, and all when it does not.
  b.failed(slow, late + openMs + 1, false);
  assert.equal(b.state(late + openMs + 1), 'half-open');
  assert.equal(b.admits('d3', late + openMs + 1), false);
  b.abandoned(next);
  assert.ok(b.admits('d3', late + openMs + 2));
});

test('what was under way when it opened does not keep it open for longer', () => {
  const b = breaker();
  const slow = [1, 2].map((now) => begun(b, 'd1', now));
  for (const now of [1, 2, 3]) unreached(b, 'd1', now);
  for (const attempt of slow) b.failed(attempt, 900, false);
  assert.equal(b.state(3 + openMs), 'half-open');
});

test('whoever makes a server fail is kept from it, and nobody else is', () => {
  const b = breaker();
  for (let now = 1; now <= failures; now += 1) provoked(b, 'bad', now);
  assert.equal(b.state(4), 'closed');
  assert.equal(b.admits('bad', 4), false);
  assert.equal(b.opensInMs('bad', 4), openMs - 1);
  assert.ok(b.admits('good', 4));
  // Again and again, when its time is over.
  let now = failures + openMs;
  for (let i = 0; i < 10; i += 1) {
    provoked(b, 'bad', now);
    assert.equal(b.admits('bad', now + 1), false);
    assert.ok(b.admits('good', now + 1));
    now += openMs;
  }
  b.succeeded(begun(b, 'bad', now));
  assert.ok(b.admits('bad', now));
});

test('a server that fails for several is kept from all', () => {
  const b = breaker();
  provoked(b, 'd1', 1);
  provoked(b, 'd2', 2);
  assert.equal(provoked(b, 'd3', 3), true);
  assert.equal(b.admits('d4', 4), false);
});

test('half open, one who makes it fail does not close the door behind himself', () => {
  const b = breaker();
  provoked(b, 'd1', 1);
  provoked(b, 'd2', 2);
  provoked(b, 'bad', 3);
  const late = 3 + openMs;
  provoked(b, 'bad', late);
  assert.equal(b.state(late), 'half-open');
  assert.ok(b.admits('d1', late));
  b.succeeded(begun(b, 'd1', late));
  assert.equal(b.state(late), 'closed');
  // Someone else for whom it fails too does.
  for (const now of [1, 2, 3]) unreached(b, 'd1', late + now);
  const later = late + 3 + openMs;
  provoked(b, 'bad', later);
  assert.equal(b.state(later + 1), 'open');
});

test('callers that fail are remembered up to a bound', () => {
  const b = new ServerBreaker(() => ({ failures: 1, openMs: 1e9 }));
  // Never two in a row by different callers, so that the server stays open to all.
  const attempt = (caller: string) => b.failed({ caller }, 1, true);
  attempt('first');
  b.succeeded({ caller: 'someone' });
  for (let i = 0; i < 1_000; i += 1) {
    attempt(`d${i}`);
    b.succeeded({ caller: 'someone' });
  }
  assert.ok(b.admits('first', 2));
  assert.equal(b.admits('d999', 2), false);
});
