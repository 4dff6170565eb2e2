import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SignedPlaces } from './signed-places.ts';

function setUp(signedConnections: number, sourceSignedConnections = 100) {
  const places = new SignedPlaces(() => ({ signedConnections, sourceSignedConnections }));
  const displaced: string[] = [];
  const take = (address: string, name = address) =>
    places.take(address, () => void displaced.push(name));
  return { take, displaced };
}

test('when all places are taken, the network with most strangers loses its oldest', () => {
  const { take, displaced } = setUp(3);
  take('192.0.2.1', 'oldest');
  take('192.0.2.2');
  take('192.0.2.3');
  assert.ok(take('198.51.100.1') !== undefined);
  assert.deepEqual(displaced, ['oldest']);
});

test('strangers of one network displace nobody, neither each other nor those of a smaller one', () => {
  const { take, displaced } = setUp(3);
  take('192.0.2.1');
  take('192.0.2.2');
  take('198.51.100.1');
  assert.equal(take('192.0.2.3'), undefined);
  assert.deepEqual(displaced, []);
});

test('who has proven who it is keeps its place, whoever comes', () => {
  const { take, displaced } = setUp(2);
  take('192.0.2.1')?.proven();
  take('192.0.2.2')?.proven();
  assert.equal(take('198.51.100.1'), undefined);
  assert.deepEqual(displaced, []);
});

test('a place that is left is free, however often that is said, and also of one that was displaced', () => {
  const { take, displaced } = setUp(2);
  const first = take('192.0.2.1', 'first');
  take('192.0.2.2');
  const third = take('198.51.100.1', 'third');
  assert.deepEqual(displaced, ['first']);
  first?.proven();
  first?.leave();
  third?.leave();
  third?.leave();
  assert.ok(take('203.0.113.1') !== undefined);
  assert.deepEqual(displaced, ['first']);
  // Two places, and no more of them for all that leaving.
  assert.equal(take('192.0.2.3'), undefined);
});

test('one source has a bound of its own, of strangers and others together', () => {
  const { take } = setUp(10, 2);
  take('192.0.2.1')?.proven();
  const second = take('192.0.2.1');
  assert.equal(take('192.0.2.1'), undefined);
  assert.ok(take('192.0.2.2') !== undefined);
  second?.leave();
  assert.ok(take('192.0.2.1') !== undefined);
});
