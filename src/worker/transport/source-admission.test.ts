import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Place, SourceAdmission } from './source-admission.ts';

function setUp(
  limits: Partial<ReturnType<ConstructorParameters<typeof SourceAdmission>[0]['limits']>> = {},
) {
  let now = 0;
  const admission = new SourceAdmission({
    clock: { now: () => now, monotonic: () => now },
    limits: () => ({
      sourceConnectionsPerSecond: 100,
      sourceConnections: 3,
      halfOpen: 10,
      sourceHalfOpen: 10,
      sessions: 100,
      ...limits,
    }),
  });
  const enter = (address: string): Place => {
    const place = admission.enter(address);
    assert.ok(place instanceof Place);
    return place;
  };
  return { admission, enter, pass: (ms: number) => (now += ms) };
}

test('connections are counted by source until they leave, once each', () => {
  const { admission, enter } = setUp();
  const places = [enter('192.0.2.1'), enter('192.0.2.1'), enter('192.0.2.1')];
  assert.equal(admission.enter('192.0.2.1'), 'source-connections');
  enter('192.0.2.2');
  places[0]?.leave();
  places[0]?.leave();
  enter('192.0.2.1');
  assert.equal(admission.enter('192.0.2.1'), 'source-connections');
});

test('one source cannot take every half-open place', () => {
  const { admission, enter } = setUp({ sourceHalfOpen: 2 });
  const first = enter('192.0.2.1');
  enter('192.0.2.1');
  assert.equal(admission.enter('192.0.2.1'), 'source-half-open');
  enter('192.0.2.2');
  first.established();
  enter('192.0.2.1');
});

test('a connection is half-open until it is done or gone, and only so many are at once', () => {
  const { admission, enter } = setUp({ halfOpen: 2 });
  const first = enter('192.0.2.1');
  const second = enter('192.0.2.2');
  assert.equal(admission.enter('192.0.2.3'), 'half-open');
  first.established();
  first.leave();
  enter('192.0.2.3').leave();
  second.leave();
  assert.equal(admission.halfOpen, 0);
  assert.equal(admission.open, 0);
});

test('a source may connect so often a second, and again when the second has passed', () => {
  const { admission, enter, pass } = setUp({ sourceConnectionsPerSecond: 3 });
  for (let n = 0; n < 3; n += 1) enter('192.0.2.1').leave();
  assert.equal(admission.enter('192.0.2.1'), 'source-rate');
  enter('192.0.2.2').leave();
  pass(1_500);
  // Half of the first second is still less than one second ago.
  enter('192.0.2.1').leave();
  enter('192.0.2.1').leave();
  assert.equal(admission.enter('192.0.2.1'), 'source-rate');
  pass(5_000);
  enter('192.0.2.1').leave();
});

test('one IPv6 subscriber line is one source, a mapped IPv4 address is that address', () => {
  const { admission, enter } = setUp({ sourceConnections: 1 });
  enter('2001:db8::1');
  assert.equal(admission.enter('2001:db8:0:0:ffff::2'), 'source-connections');
  enter('2001:db8:0:1::1');
  enter('::ffff:192.0.2.9');
  assert.equal(admission.enter('192.0.2.9'), 'source-connections');
});

test('a worker that is full lets nobody in, whatever the source', () => {
  const { admission, enter } = setUp({ sessions: 1 });
  enter('192.0.2.1');
  assert.equal(admission.enter('192.0.2.2'), 'sessions');
});
