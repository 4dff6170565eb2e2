/** How identities behave, over a real mesh: clones and flapping are seen whichever workers they use. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { CloneRule } from '../../common/config/policy-document.ts';
import { presenceId } from '../broker/session-key.ts';
import type { Claim } from './identity-desk.ts';
import { eventually, PeeringGroup } from './peering-group.ts';

const d1 = principalName('device', 'd1');
const a = '192.0.2.1';
const b = '198.51.100.2';
const telemetry = Object.freeze([
  { key: 'route:telemetry', windows: [{ limit: 1_000, perMs: 1_000, burst: 1_000 }] },
]);

interface Held {
  readonly claim: Claim;
  ended: boolean;
}

async function groupWith(rule: CloneRule, ...slots: readonly number[]) {
  const group = await PeeringGroup.of(...slots);
  group.rules = {
    clones: { rule, windowMs: 600_000 },
    connects: { perMinute: 20, servicePerMinute: 20, longestMs: 60_000 },
  };
  const claim = async (
    slot: number,
    remote: string,
    clientId = 'c',
    afterMs = 1_000,
  ): Promise<Held> => {
    group.hands.now += afterMs;
    const state = { ended: false };
    const granted = await group.worker(slot).peering.desk.claim(
      d1,
      clientId,
      () => {
        state.ended = true;
        return undefined;
      },
      remote,
    );
    return Object.assign(state, { claim: granted });
  };
  const suspected = (): string[][] =>
    group.clones.map(({ suspicion }) => suspicion.addresses.map(({ address }) => address));
  return { group, claim, suspected };
}

const code = (expected: string) => (error: unknown) =>
  error instanceof SallyportError && error.code === expected;

test('two that take over from each other are told once, with both addresses, whichever workers they use', async () => {
  const { group, claim, suspected } = await groupWith('alert', 0, 1, 2);
  await using _ = group;
  const held = [await claim(0, a), await claim(1, b)];
  assert.deepEqual(suspected(), [], 'a device that moved');
  for (const [slot, remote] of [
    [2, a],
    [0, b],
    [1, a],
  ] as const) {
    held.push(await claim(slot, remote));
  }
  assert.deepEqual(suspected(), [[a, b]]);
  // The newer one takes over, as always.
  assert.deepEqual(
    held.map(({ ended }) => ended),
    [true, true, true, true, false],
  );
  group.hands.now += 601_000;
  for (const [slot, remote] of [
    [0, b],
    [1, a],
    [2, b],
  ] as const) {
    await claim(slot, remote);
  }
  assert.deepEqual(suspected(), [
    [a, b],
    [b, a],
  ]);
});

test('a device that ends one session before it begins the next is seen all the same', async () => {
  const { group, claim, suspected } = await groupWith('alert', 0, 1);
  await using _ = group;
  for (const remote of [a, b, a]) {
    const held = await claim(0, remote);
    held.claim.release();
  }
  assert.deepEqual(suspected(), [[a, b]]);
});

test('two sessions of one device that are used in turn are seen, on one worker or on two', async () => {
  for (const [first, second] of [
    [0, 0],
    [0, 1],
    [1, 2],
  ] as const) {
    const { group, claim, suspected } = await groupWith('alert', 0, 1, 2);
    await using _ = group;
    const one = await claim(first, a, 'x');
    const two = await claim(second, b, presenceId('w'));
    assert.deepEqual(suspected(), []);
    group.hands.now += 11_000;
    await two.claim.rates.take(telemetry, 1);
    await one.claim.rates.take(telemetry, 1);
    await eventually('it is seen', () => group.clones.length === 1);
    assert.deepEqual(suspected(), [[a, b]]);
  }
});

test('several sessions of one device from one address are not suspected, and nothing is said of them', async () => {
  const { group, claim, suspected } = await groupWith('alert', 0, 1);
  await using _ = group;
  const held = [await claim(0, a, 'x'), await claim(1, a, 'y'), await claim(0, a, 'z')];
  for (let n = 0; n < 10; n += 1) {
    group.hands.now += 11_000;
    for (const each of held) await each.claim.rates.take(telemetry, 1);
  }
  assert.deepEqual(suspected(), []);
});

test('take-over: who comes back ends every session from the other address', async () => {
  const { group, claim, suspected } = await groupWith('take-over', 0, 1, 2);
  await using _ = group;
  const first = await claim(0, a, 'x');
  const second = await claim(1, b, 'y');
  assert.equal(first.ended, false);
  const third = await claim(2, a, 'z');
  assert.deepEqual([first.ended, second.ended, third.ended], [false, true, false]);
  assert.deepEqual(suspected(), [[a, b]]);
});

test('refuse: the older session stays, the newer address is not let in until it has gone', async () => {
  const { group, claim, suspected } = await groupWith('refuse', 0, 1);
  await using _ = group;
  const first = await claim(0, a);
  await assert.rejects(claim(1, b), code('busy'));
  await assert.rejects(claim(0, b, 'another'), code('busy'));
  assert.equal(first.ended, false);
  assert.deepEqual(suspected(), [[b, a]]);
  const again = await claim(1, a);
  assert.equal(first.ended, true, 'the same address takes over');
  again.claim.release();
  // In the order in which its worker says it: the one has ended, the other begins.
  const moved = await claim(1, b);
  assert.equal(moved.ended, false);
});

test('refuse: what is known of addresses goes with a session to its new home', async () => {
  const { group, claim } = await groupWith('refuse', 0, 1, 2);
  await using _ = group;
  await claim(0, a);
  for (const gone of [1, 2]) {
    await group.kill(gone);
    group.announce();
    await assert.rejects(claim(0, b), code('busy'));
  }
});

test('an identity that connects again and again is told so, on every worker; presences are no connects', async () => {
  const { group, claim } = await groupWith('alert', 0, 1);
  await using _ = group;
  if (group.rules !== undefined)
    group.rules = {
      ...group.rules,
      connects: { perMinute: 4, servicePerMinute: 4, longestMs: 60_000 },
    };
  for (let n = 0; n < 4; n += 1) await claim(n % 2, a);
  await assert.rejects(claim(0, a), code('rate'));
  await assert.rejects(claim(1, a, 'another', 500), code('rate'));
  const present = await claim(1, a, presenceId('w'));
  present.claim.release();
  group.hands.now += 120_000;
  await claim(1, a);
});

test('before there are rules nobody is judged', async () => {
  const { group, claim, suspected } = await groupWith('refuse', 0);
  await using _ = group;
  group.rules = undefined;
  for (const remote of [a, b, a, b]) await claim(0, remote);
  assert.deepEqual(suspected(), []);
});
