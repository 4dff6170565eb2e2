import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { Recovery } from './recovery.ts';
import { HandTime } from './test-support.ts';

function setUp(random: () => number = () => 0.5) {
  const time = new HandTime();
  const told: string[] = [];
  const recovery = new Recovery({
    timers: time,
    clock: time,
    random,
    retry: () => ({ minMs: 500, maxMs: 8_000 }),
    onResume: () => told.push('resume'),
    onOpen: ({ failures }) => told.push(`open ${failures}`),
    onClose: (downMs) => told.push(`close ${downMs > 0}`),
  });
  const fail = (retryAfterMs?: number): void => {
    do {
      const lane = {};
      const pass = recovery.admit(lane);
      assert.ok(pass !== undefined);
      recovery.failed(pass, lane, 'down', retryAfterMs);
    } while (!recovery.holds({}));
  };
  return { time, recovery, told, fail };
}

test('after a failure nothing is sent for a while, then one request, then all', async () => {
  const { time, recovery, told, fail } = setUp();
  assert.equal(recovery.holds({}), false);
  fail();
  assert.equal(recovery.admit({}), undefined);
  await time.pass(999);
  assert.equal(recovery.admit({}), undefined);
  await time.pass(1_001);
  assert.deepEqual(told, ['resume', 'resume'], 'those first that have not failed');
  assert.equal(recovery.probing, true);
  const probe = recovery.admit({});
  assert.ok(probe !== undefined);
  assert.equal(recovery.admit({}), undefined, 'there is one probe');
  recovery.answered(probe, {});
  assert.deepEqual(told, ['resume', 'resume', 'resume']);
  assert.ok(recovery.admit({}) !== undefined && recovery.admit({}) !== undefined);
});

test('the breaker opens after failures in a row, is told once, and closes with a probe', async () => {
  const { time, recovery, told, fail } = setUp();
  fail();
  assert.equal(recovery.breaker, 'closed');
  for (let i = 0; i < 4; i += 1) {
    await time.pass(10_000);
    fail();
  }
  assert.equal(recovery.breaker, 'open');
  assert.equal(told.filter((line) => line === 'open 3').length, 1);
  await time.pass(10_000);
  assert.equal(recovery.breaker, 'half-open');
  recovery.answered(recovery.admit({}) ?? -1, {});
  assert.equal(recovery.breaker, 'closed');
  assert.equal(told.filter((line) => line === 'close true').length, 1);
});

test('failures of requests that were under way together count as one', async () => {
  const { time, recovery } = setUp();
  const passes = Array.from({ length: 8 }, () => recovery.admit({}));
  for (const pass of passes) recovery.failed(pass ?? -1, {}, 'down', undefined);
  assert.equal(recovery.breaker, 'closed');
  await time.pass(2_000);
  const probe = recovery.admit({});
  // What comes back now of the old ones says nothing about the backend as it is.
  recovery.answered(passes[0] ?? -1, {});
  recovery.failed(passes[1] ?? -1, {}, 'down', undefined);
  assert.equal(recovery.holds({}), true);
  recovery.answered(probe ?? -1, {});
  assert.equal(recovery.holds({}), false);
});

test('pauses grow to the longest and stay between the two, whatever chance says', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: 0, max: 0.999_999, noNaN: true }), { minLength: 1, maxLength: 40 }),
      async (chances) => {
        let turn = 0;
        const { time, recovery, fail } = setUp(() => chances[turn] ?? 0);
        for (turn = 0; turn < chances.length; turn += 1) {
          fail();
          await time.pass(499);
          assert.equal(recovery.holds({}), true);
          const most = Math.min(8_000, 500 * 2 ** (turn + 2));
          await time.pass(most - 499);
          assert.equal(recovery.holds({}), false, `${turn}: not after ${most}`);
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('what the backend asks for is honoured within bounds', async () => {
  for (const [asked, waited] of [
    [0, 500],
    [2_000, 2_000],
    [60_000, 60_000],
    [9e9, 300_000],
  ] as const) {
    const { time, recovery, fail } = setUp();
    fail(asked);
    await time.pass(waited - 1);
    assert.equal(recovery.holds({}), true, `${asked}`);
    await time.pass(1);
    assert.equal(recovery.holds({}), false, `${asked}`);
  }
});

test('a lane that fails alone waits by itself, longer each time, until it does well', () => {
  const { recovery, told } = setUp();
  const [bad, good] = [{}, {}];
  const waits: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    waits.push(recovery.failed(recovery.admit(bad) ?? -1, bad, 'answered 500', undefined));
    recovery.answered(recovery.admit(good) ?? -1, good);
  }
  assert.deepEqual(waits, [750, 1_500, 3_000, 6_000, 6_000]);
  assert.deepEqual(told, []);
  recovery.answered(recovery.admit(bad) ?? -1, bad);
  assert.equal(recovery.failed(recovery.admit(bad) ?? -1, bad, 'answered 500', undefined), 750);
});

test('the probe is first that of a lane that has not failed, then of any', async () => {
  const { time, recovery } = setUp();
  const [one, two] = [{}, {}];
  for (const lane of [one, two])
    recovery.failed(recovery.admit(lane) ?? -1, lane, 'down', undefined);
  await time.pass(1_500);
  assert.deepEqual(
    [recovery.holds(one), recovery.holds(two), recovery.holds({})],
    [true, true, false],
  );
  await time.pass(50);
  assert.equal(recovery.holds(one), false);
});
