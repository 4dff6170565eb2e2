/** Several windows of one identity at once, over several workers: what they refuse, and what each worker can say of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { RateBucket } from '../policy/ports.ts';
import { waitMs } from '../policy/rate-levels.ts';
import type { Claim } from './identity-desk.ts';
import { eventually, PeeringGroup } from './peering-group.ts';
import { homeOf } from './rendezvous.ts';

const day = 86_400_000;
const telemetry: readonly RateBucket[] = Object.freeze([
  {
    key: 'route:telemetry',
    windows: [
      { limit: 5, perMs: 1_000, burst: 10 },
      { limit: 24, perMs: day, burst: 19 },
    ],
  },
]);
const upload: readonly RateBucket[] = Object.freeze([
  { key: 'route:upload', windows: [{ limit: 1, perMs: 1_000, burst: 9 }] },
  { key: 'bytes:upload', windows: [{ limit: 100, perMs: 1_000, burst: 999 }] },
]);

function homedAt(slot: number, slots: readonly number[]): PrincipalName {
  for (let i = 0; ; i += 1) {
    const principal = principalName('device', `p${i}`);
    if (homeOf(principal, slots) === slot) return principal;
  }
}

function claim(group: PeeringGroup, slot: number, principal: PrincipalName): Promise<Claim> {
  return group.worker(slot).peering.desk.claim(principal, `c${slot}`, () => undefined);
}

const levelsOf = ({ rates }: Claim, buckets = telemetry): readonly number[] | undefined =>
  rates.levels?.(buckets);

async function passed(held: readonly Claim[], tries: number): Promise<number> {
  let count = 0;
  for (let i = 0; i < tries; i += 1) {
    if ((await held[i % held.length]?.rates.take(telemetry, 1)) === true) count += 1;
  }
  return count;
}

for (const home of [0, 1, 2]) {
  test(`each window has its say, with the home in slot ${home}`, async () => {
    await using group = await PeeringGroup.of(0, 1, 2);
    const principal = homedAt(home, [0, 1, 2]);
    const held = [await claim(group, 0, principal), await claim(group, 1, principal)];
    assert.equal(await passed(held, 30), 11, 'the second');
    group.hands.now += 10_000;
    assert.equal(
      await passed(held, 30),
      9,
      'of the day twenty pass at once, and these are the rest',
    );
    for (const each of held) {
      const { rates } = each;
      assert.equal(await rates.take(telemetry, 1), false);
      const levels = levelsOf(each);
      assert.ok(levels !== undefined);
      const wait = waitMs(telemetry, levels, 1);
      assert.ok(wait > 3_500_000 && wait <= 3_600_000, `${wait}`);
      group.hands.now += Math.ceil(wait);
      assert.equal(await rates.take(telemetry, 1), true);
      assert.equal(await rates.take(telemetry, 1), false);
    }
  });
}

test('levels are known without asking by the one that serves alone, and as they were heard by the others', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const principal = homedAt(2, [0, 1, 2]);
  const alone = await claim(group, 0, principal);
  assert.deepEqual(levelsOf(alone), [0, 0]);
  assert.equal(alone.rates.take(telemetry, 1), true);
  assert.deepEqual(levelsOf(alone), [1, 1]);
  const beside = await claim(group, 1, principal);
  assert.equal(levelsOf(beside), undefined, 'it has not asked yet');
  assert.equal(await beside.rates.take(telemetry, 1), true);
  assert.deepEqual(levelsOf(beside), [2, 2]);
  group.hands.now += 200;
  assert.deepEqual(levelsOf(beside), [1, 2 - (24 * 200) / day]);
  alone.release();
  await eventually('lent', () => beside.rates.take(telemetry, 0) === true);
  assert.deepEqual(levelsOf(beside), [1, 2 - (24 * 200) / day]);
});

test('requests and bytes are asked for in one question, all or none', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const principal = homedAt(1, [0, 1]);
  const held = [await claim(group, 0, principal), await claim(group, 1, principal)];
  for (const { rates } of held) assert.equal(await rates.take(upload, [1, 400]), true);
  for (const { rates } of held) assert.equal(await rates.take(upload, [1, 400]), false);
  for (const each of held) assert.deepEqual(levelsOf(each, upload), [2, 800]);
  assert.equal(await held[0]?.rates.take(upload, [1, 200]), true);
});

test('a worker that is killed takes with it what was spent there since it was lent, and nothing else', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const principal = homedAt(2, [0, 1, 2]);
  const before = await claim(group, 1, principal);
  assert.equal(await passed([before], 4), 4);
  before.release();
  const held = await claim(group, 0, principal);
  assert.equal(await passed([held], 5), 5);
  await group.kill(0);
  group.announce();
  const next = await claim(group, 1, principal);
  assert.equal(await passed([next], 30), 7, 'the home knew of four');
});
