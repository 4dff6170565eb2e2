import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { principalName } from '../../common/base/principal.ts';
import { CloneWatch } from './clone-watch.ts';

const d1 = principalName('device', 'd1');
const minute = 60_000;
const windowMs = 10 * minute;
const a = '192.0.2.1';
const b = '198.51.100.2';
const c = '203.0.113.3';

function setUp() {
  const hands = { now: 1_700_000_000_000 };
  const clock = { now: () => hands.now, monotonic: () => hands.now };
  const watch = new CloneWatch(clock, () => windowMs);
  /** One device at these addresses, so many milliseconds apart. @returns where it was suspected. */
  const walk = (addresses: readonly string[], everyMs = minute): number[] =>
    addresses.flatMap((address, i) => {
      hands.now += everyMs;
      return watch.seen(d1, address) === undefined ? [] : [i];
    });
  return { hands, watch, walk };
}

test('two addresses in turn are suspected, with both and when', () => {
  const { hands, watch } = setUp();
  watch.seen(d1, a);
  hands.now += minute;
  const between = hands.now;
  watch.seen(d1, b);
  hands.now += minute;
  assert.deepEqual(watch.seen(d1, a), {
    principal: d1,
    addresses: [
      { address: a, at: hands.now },
      { address: b, at: between },
    ],
    isNews: true,
  });
});

const innocent: Readonly<Record<string, readonly string[]>> = {
  'one address': [a, a, a, a],
  'a change of network': [a, a, b, b, b],
  'a journey': [a, b, c],
  'another address of the same line': ['2001:db8::1', '2001:db8::2', '2001:db8::1'],
  'the same address in two spellings': [a, `::ffff:${a}`, a],
  'an address that is not known in between': [a, '', a],
};

for (const [what, addresses] of Object.entries(innocent)) {
  test(`not suspected: ${what}`, () => {
    assert.deepEqual(setUp().walk(addresses), []);
  });
}

test('every return is suspected, also when a third address comes between', () => {
  assert.deepEqual(setUp().walk([a, b, a, b, b, a]), [2, 3, 5]);
  assert.deepEqual(setUp().walk([a, b, c, a]), [3]);
});

test('addresses that take turns more slowly than the window are not suspected', () => {
  assert.deepEqual(setUp().walk([a, b, a, b], windowMs / 2 + 1), []);
});

test('it is news once in a window', () => {
  const { hands, watch } = setUp();
  const news: number[] = [];
  for (let turn = 0; turn < 31; turn += 1) {
    hands.now += minute;
    if (watch.seen(d1, turn % 2 === 0 ? a : b)?.isNews === true) news.push(turn);
  }
  assert.deepEqual(news, [2, 13, 24]);
});

test('services are not watched', () => {
  const { watch } = setUp();
  const be = principalName('service', 'be');
  for (const address of [a, b, a, b]) assert.equal(watch.seen(be, address), undefined);
  assert.equal(watch.size, 0);
});

test('who has not been seen for the length of the window is forgotten', () => {
  const { hands, watch } = setUp();
  watch.seen(d1, a);
  hands.now += windowMs / 2;
  watch.seen(principalName('device', 'd2'), a);
  hands.now += windowMs / 2 + 1;
  watch.sweep();
  assert.equal(watch.size, 1);
  hands.now += windowMs;
  watch.sweep();
  assert.equal(watch.size, 0);
});

test('devices watched are bounded: the one that was seen least recently goes first', () => {
  const { watch } = setUp();
  for (let i = 0; i <= 100_000; i += 1) watch.seen(principalName('device', `d${i}`), a);
  assert.equal(watch.size, 100_000);
});

test('whatever the walk, it is suspected where an address comes back within the window, and there alone', () => {
  const step = fc.record({
    at: fc.constantFrom(a, b, c),
    afterMs: fc.integer({ min: 1, max: 8 * minute }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { hands, watch } = setUp();
      const seen: { readonly address: string; readonly at: number }[] = [];
      for (const { at: address, afterMs } of steps) {
        hands.now += afterMs;
        const recent = seen.filter(({ at }) => hands.now - at <= windowMs);
        const isBack =
          recent.at(-1)?.address !== address && recent.some((each) => each.address === address);
        assert.equal(watch.seen(d1, address) !== undefined, isBack);
        seen.push({ address, at: hands.now });
      }
    }),
  );
});
