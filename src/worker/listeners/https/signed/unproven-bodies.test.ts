import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnprovenBodies } from './unproven-bodies.ts';

const setUp = (unprovenBytes: number, unprovenBodyBytes = 10): UnprovenBodies =>
  new UnprovenBodies(() => ({ unprovenBytes, unprovenBodyBytes }));

test('one network has a quarter of the room, whatever addresses it comes from', () => {
  const bodies = setUp(100);
  const first = bodies.take('192.0.2.1', 10);
  assert.ok(first !== undefined);
  assert.ok(bodies.take('192.0.2.2', 10) !== undefined);
  assert.equal(bodies.take('192.0.2.3', 10), undefined);
  assert.ok(bodies.take('192.0.2.3', 5) !== undefined);
  assert.ok(bodies.take('198.51.100.1', 25) !== undefined);
  first();
  assert.ok(bodies.take('192.0.2.3', 10) !== undefined);
});

test('one body finds room wherever it comes from, as long as there is any', () => {
  const bodies = setUp(20, 10);
  assert.ok(bodies.take('192.0.2.1', 10) !== undefined);
  assert.equal(bodies.take('192.0.2.1', 1), undefined);
  const second = bodies.take('198.51.100.1', 10);
  assert.equal(bodies.take('203.0.113.1', 1), undefined);
  second?.();
  assert.ok(bodies.take('203.0.113.1', 10) !== undefined);
});
