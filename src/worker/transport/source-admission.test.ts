import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Place, SourceAdmission } from './source-admission.ts';

function setUp(
  limits: Partial<ReturnType<ConstructorParameters<typeof SourceAdmission>[0]['limits']>> = {},
) {
  let now = 0;
  const displaced: Place[] = [];
  const admission = new SourceAdmission({
    clock: { now: () => now, monotonic: () => now },
    limits: () => ({
      sourceConnectionsPerSecond: 100,
      sourceConnections: 3,
      halfOpen: 10,
      sourceHalfOpen: 10,
      sessions: 100,
      sourceFailures: 10,
      sourceSlowedPerSecond: 1,
      ...limits,
    }),
  });
  /** A connection that has begun its handshake, or why it has not. */
  const tried = (address: string): Place | string => {
    const place = admission.enter();
    if (!(place instanceof Place)) return place;
    const refusal = place.from(address) ?? place.begin(() => displaced.push(place));
    if (refusal === undefined) return place;
    place.leave();
    return refusal;
  };
  const enter = (address: string): Place => {
    const place = tried(address);
    assert.ok(place instanceof Place);
    return place;
  };
  return { admission, displaced, tried, enter, pass: (ms: number) => (now += ms) };
}

test('connections are counted by source until they leave, once each', () => {
  const { tried, enter } = setUp();
  const places = [enter('192.0.2.1'), enter('192.0.2.1'), enter('192.0.2.1')];
  assert.equal(tried('192.0.2.1'), 'source-connections');
  enter('192.0.2.2');
  places[0]?.leave();
  places[0]?.leave();
  enter('192.0.2.1');
  assert.equal(tried('192.0.2.1'), 'source-connections');
});

test('one source cannot take every half-open place', () => {
  const { tried, enter } = setUp({ sourceHalfOpen: 2 });
  const first = enter('192.0.2.1');
  enter('192.0.2.1');
  assert.equal(tried('192.0.2.1'), 'source-half-open');
  enter('192.0.2.2');
  first.established();
  enter('192.0.2.1');
});

test('a connection is half-open until it is done or gone, and only so many are at once', () => {
  const { admission, tried, enter } = setUp({ halfOpen: 2 });
  const first = enter('192.0.2.1');
  const second = enter('192.0.2.2');
  assert.equal(tried('192.0.2.3'), 'half-open');
  first.established();
  first.leave();
  enter('192.0.2.3').leave();
  second.leave();
  assert.equal(admission.halfOpen, 0);
  assert.equal(admission.open, 0);
});

test('who has taken all half-open places with a few addresses gives one up to each who has fewer', () => {
  const { admission, displaced, tried, enter } = setUp({ halfOpen: 6, sourceHalfOpen: 2 });
  const silent = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].flatMap((each) => [
    enter(each),
    enter(each),
  ]);
  assert.equal(tried('192.0.2.4'), 'half-open', 'an address more of the same network is no help');
  const honest = enter('198.51.100.1');
  assert.deepEqual(displaced, silent.slice(0, 1), 'the oldest, and only one');
  assert.equal(admission.halfOpen, 6);
  silent[0]?.leave();
  silent[0]?.established();
  assert.equal(admission.halfOpen, 6, 'it is not half-open any more');
  honest.established();
  honest.leave();
  enter('192.0.2.1');
  assert.equal(admission.halfOpen, 6);
  assert.equal(displaced.length, 1);
  for (const place of silent) place.leave();
  assert.equal(admission.halfOpen, 1);
});

test('networks that hold as many half-open places each keep them, and who has authenticated is displaced by nobody', () => {
  const { displaced, tried, enter } = setUp({ halfOpen: 3 });
  for (const address of ['192.0.2.1', '198.51.100.1', '203.0.113.1']) enter(address);
  assert.equal(tried('10.0.0.1'), 'half-open');
  const { enter: enterElsewhere, displaced: none } = setUp({ halfOpen: 3 });
  for (let n = 0; n < 3; n += 1) enterElsewhere('192.0.2.1').established();
  for (let n = 0; n < 3; n += 1) enterElsewhere('198.51.100.1');
  assert.deepEqual([displaced, none], [[], []]);
});

test('a source may connect so often a second, and again when the second has passed', () => {
  const { tried, enter, pass } = setUp({ sourceConnectionsPerSecond: 3 });
  for (let n = 0; n < 3; n += 1) enter('192.0.2.1').leave();
  assert.equal(tried('192.0.2.1'), 'source-rate');
  enter('192.0.2.2').leave();
  pass(1_500);
  // Half of the first second is still less than one second ago.
  enter('192.0.2.1').leave();
  enter('192.0.2.1').leave();
  assert.equal(tried('192.0.2.1'), 'source-rate');
  pass(5_000);
  enter('192.0.2.1').leave();
});

test('one IPv6 subscriber line is one source, a mapped IPv4 address is that address', () => {
  const { tried, enter } = setUp({ sourceConnections: 1 });
  enter('2001:db8::1');
  assert.equal(tried('2001:db8:0:0:ffff::2'), 'source-connections');
  enter('2001:db8:0:1::1');
  enter('::ffff:192.0.2.9');
  assert.equal(tried('192.0.2.9'), 'source-connections');
});

test('a worker that is full lets nobody in, whatever the source', () => {
  const { tried, enter } = setUp({ sessions: 1 });
  enter('192.0.2.1');
  assert.equal(tried('192.0.2.2'), 'sessions');
});

test('a connection that waits for its turn is open, and not half-open', () => {
  const { admission } = setUp({ halfOpen: 1 });
  const waiting = admission.enter();
  assert.ok(waiting instanceof Place);
  assert.equal(waiting.from('192.0.2.1'), undefined);
  assert.deepEqual([admission.open, admission.halfOpen], [1, 0]);
  assert.equal(
    waiting.begin(() => {}),
    undefined,
  );
  assert.deepEqual([admission.open, admission.halfOpen], [1, 1]);
  waiting.leave();
  assert.deepEqual([admission.open, admission.halfOpen], [0, 0]);
});

test('a place that its source has no right to is no part of what the source has', () => {
  const { admission, tried, enter } = setUp({ sourceConnections: 1 });
  const first = enter('192.0.2.1');
  for (let n = 0; n < 5; n += 1) assert.equal(tried('192.0.2.1'), 'source-connections');
  assert.equal(admission.open, 1);
  first.leave();
  enter('192.0.2.1').leave();
  assert.equal(admission.open, 0);
});

test('who fails is charged to its network, who authenticates pays back', () => {
  const { admission, enter } = setUp({ sourceFailures: 2, sourceConnections: 100 });
  const network = '192.0.2';
  for (let n = 1; n <= 3; n += 1) enter(`192.0.2.${n}`).failed();
  assert.equal(admission.failures.isSlowed(network), true);
  enter('192.0.2.9').established();
  assert.equal(admission.failures.isSlowed(network), false);
  admission.failed('192.0.2.200');
  assert.equal(admission.failures.isSlowed(network), true);
  assert.equal(admission.failures.isSlowed('192.0.3'), false);
});
