/** Desks and homes together, over a real mesh. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { presenceId } from '../broker/session-key.ts';
import type { Claim } from './identity-desk.ts';
import { eventually, PeeringGroup } from './peering-group.ts';
import { homeOf } from './rendezvous.ts';

const d1 = principalName('device', 'd1');
const telemetry = Object.freeze([
  { key: 'route:telemetry', windows: [{ limit: 5, perMs: 1_000, burst: 10 }] },
]);

interface Held extends Claim {
  readonly slot: number;
  takenOver: number;
}

async function claim(
  group: PeeringGroup,
  slot: number,
  clientId: string,
  principal: PrincipalName = d1,
): Promise<Held> {
  const state = { takenOver: 0 };
  const granted = await group.worker(slot).peering.desk.claim(principal, clientId, () => {
    state.takenOver += 1;
    return undefined;
  });
  return {
    key: granted.key,
    epoch: granted.epoch,
    rates: granted.rates,
    release: () => granted.release(),
    slot,
    get takenOver() {
      return state.takenOver;
    },
  };
}

const take = async (held: Claim): Promise<boolean> => held.rates.take(telemetry, 1);
/** Answered at once, and without a charge. */
const isLocal = (held: Claim): boolean => typeof held.rates.take(telemetry, 0) === 'boolean';

const code = (expected: string) => (error: unknown) =>
  error instanceof SallyportError && error.code === expected;

/** An identity whose home is `slot` among `slots`. */
function principalAt(slot: number, slots: readonly number[], from = 0): PrincipalName {
  for (let i = from; ; i += 1) {
    const principal = principalName('device', `p${i}`);
    if (homeOf(principal, slots) === slot) return principal;
  }
}

/** Nobody has anything to say about anybody: nothing has leaked. */
async function forgotten(group: PeeringGroup): Promise<void> {
  await eventually('all forgotten', () => {
    // Levels that are on their way do not leak before they arrive.
    group.hands.now += 60_000;
    for (const { peering } of group.workers) peering.home.sweep();
    return group.workers.every(({ peering }) => peering.home.size + peering.desk.size === 0);
  });
}

test('a session has one owner over all workers: the older one has ended when the new claim resolves', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const held: Held[] = [];
  for (const slot of [0, 1, 1, 2, 0]) {
    const next = await claim(group, slot, 'c');
    assert.equal(next.key, 'device/d1 c');
    assert.deepEqual(
      held.map((each) => each.takenOver),
      held.map(() => 1),
    );
    held.push(next);
  }
  for (const stale of held.slice(0, -1)) stale.release();
  const last = held[4]!;
  const other = await claim(group, 1, 'another');
  assert.equal(last.takenOver, 0, 'a stale release ends nothing');
  last.release();
  other.release();
  last.release();
  await forgotten(group);
});

test('a newer claim resolves when the older owner has left its state behind, and has a greater epoch', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  for (const [older, newer] of [
    [0, 1],
    [2, 2],
  ] as const) {
    const clientId = `c${older}`;
    const { promise: leaving, resolve: left } = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    const { desk } = group.worker(older).peering;
    const first = await desk.claim(
      d1,
      clientId,
      () => {
        ended.resolve();
        return leaving;
      },
      '',
    );
    let decided = 0;
    const others = [newer, older].map((slot) =>
      claim(group, slot, clientId).then((held) => {
        decided += 1;
        return held;
      }),
    );
    await ended.promise;
    // Another identity's claim goes all the way meanwhile.
    (await claim(group, newer, 'c', principalName('device', 'd2'))).release();
    assert.equal(decided, 0);
    left();
    for (const held of await Promise.all(others)) assert.ok(held.epoch > first.epoch);
  }
});

test('an older owner that does not come to an end is waited for so long, and no longer', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const { desk } = group.worker(0).peering;
  await desk.claim(d1, 'c', () => new Promise(() => {}));
  const held = await claim(group, 1, 'c');
  assert.equal(held.takenOver, 0);
});

test('of many claims at once of one session, on all workers, one is left', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const held = await Promise.all(Array.from({ length: 12 }, (_, i) => claim(group, i % 3, 'c')));
  assert.equal(held.filter(({ takenOver }) => takenOver === 0).length, 1);
  assert.ok(held.every(({ takenOver }) => takenOver <= 1));
  for (const each of held) each.release();
  await forgotten(group);
});

test('an identity has so many sessions over all workers, and no more', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  group.sessionsPerIdentity = 3;
  const held = [await claim(group, 0, 'a'), await claim(group, 1, 'b'), await claim(group, 2, 'c')];
  await assert.rejects(claim(group, 0, 'd'), code('quota'));
  await assert.rejects(claim(group, 2, 'd'), code('quota'));
  await claim(group, 2, 'a');
  held[1]!.release();
  await claim(group, 1, 'd');
  await claim(group, 1, 'e', principalName('device', 'd2'));
});

test('a presence is no session: it takes no place, and each worker has its own', async () => {
  await using group = await PeeringGroup.of(0, 1);
  group.sessionsPerIdentity = 1;
  const present = [
    await claim(group, 0, presenceId('w0')),
    await claim(group, 1, presenceId('w1')),
  ];
  const session = await claim(group, 0, 'a');
  await assert.rejects(claim(group, 1, 'b'), code('quota'));
  assert.deepEqual(
    [...present, session].map(({ takenOver }) => takenOver),
    [0, 0, 0],
  );
  for (const each of present) each.release();
  session.release();
  await forgotten(group);
});

test('a presence shares the one budget of its identity with sessions, on whichever workers', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const present = await claim(group, 0, presenceId('w0'));
  assert.equal(await take(present), true);
  const session = await claim(group, 1, 'a');
  const taken = [];
  for (let i = 0; i < 12; i += 1) taken.push(await take(i % 2 === 0 ? session : present));
  assert.equal(taken.filter(Boolean).length, 10, 'eleven in all');
});

test('the twelfth message is refused however a flood spreads: reconnecting each time, on every worker', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  let passed = 0;
  for (let i = 0; i < 24; i += 1) {
    const held = await claim(group, i % 3, i % 2 === 0 ? 'c' : `c${i}`);
    if (await take(held)) passed += 1;
    held.release();
  }
  assert.equal(passed, 11);
  const last = await claim(group, 1, 'c');
  group.hands.now += 200;
  assert.equal(await take(last), true);
  assert.equal(await take(last), false);
});

test('the twelfth message is refused with sessions on all workers at once, whatever their client ids', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const held = await Promise.all([0, 1, 2, 0, 1].map((slot, i) => claim(group, slot, `c${i}`)));
  const outcomes = await Promise.all(Array.from({ length: 40 }, (_, i) => take(held[i % 5]!)));
  assert.equal(outcomes.filter(Boolean).length, 11);
});

test('a message that asks for the budget while it is on its way back finds it there', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  for (let round = 0; round < 20; round += 1) {
    const principal = principalAt(1, [0, 1, 2], round * 100);
    const held = await claim(group, 0, 'c', principal);
    const outcomes = Array.from({ length: 5 }, () => take(held));
    const other = claim(group, round % 2 === 0 ? 2 : 1, 'd', principal);
    for (let i = 0; i < 20; i += 1) {
      outcomes.push(take(held));
      await nextTurn();
    }
    const second = await other;
    for (let i = 0; i < 12; i += 1) outcomes.push(take([held, second][i % 2]!));
    assert.equal((await Promise.all(outcomes)).filter(Boolean).length, 11, `round ${round}`);
  }
});

test('one worker that serves an identity answers at once; two ask; the last one answers at once again', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  for (const home of [0, 1, 2]) {
    const principal = principalAt(home, [0, 1, 2]);
    const a = await claim(group, 0, 'a', principal);
    assert.ok(isLocal(a));
    const a2 = await claim(group, 0, 'a2', principal);
    assert.ok(isLocal(a) && isLocal(a2));
    for (let i = 0; i < 4; i += 1) assert.ok(await take(a));
    const b = await claim(group, 1, 'b', principal);
    assert.ok(!isLocal(a) && !isLocal(b));
    for (let i = 0; i < 4; i += 1) assert.ok(await take(b));
    a.release();
    a2.release();
    await eventually('lent back', () => isLocal(b));
    for (let i = 0; i < 3; i += 1) assert.equal(b.rates.take(telemetry, 1), true);
    assert.equal(b.rates.take(telemetry, 1), false);
    b.release();
    assert.equal(await take(b), false, 'an ended session has no budget');
  }
  await forgotten(group);
});

test('without members, or with a home that is not there, claims fail busy and questions are answered no', async () => {
  await using group = new PeeringGroup();
  await group.start(0);
  const lonely = claim(group, 0, 'c');
  group.hands.now += 3_001;
  await assert.rejects(lonely, code('busy'));
  const absent = { slot: 1, generation: 2, pid: 1 };
  group.worker(0).peering.setMembers([group.worker(0).member, absent]);
  for (const principal of [principalAt(1, [0, 1]), principalAt(0, [0, 1])]) {
    const refused = claim(group, 0, 'c', principal);
    group.hands.now += 3_001;
    await assert.rejects(refused, code('busy'));
  }
  await group.start(1);
  group.announce();
  const held = await claim(group, 1, 'c', principalAt(0, [0, 1]));
  const other = await claim(group, 0, 'd', principalAt(0, [0, 1]));
  await group.kill(0);
  assert.equal(other.takenOver, 0);
  await eventually('the home is gone', () => held.rates.take(telemetry, 1) === false);
});

test('when a worker dies, its sessions are nobody’s, and those of the others keep their owners and budgets', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  group.sessionsPerIdentity = 2;
  const principal = principalAt(2, [0, 1, 2]);
  const kept = await claim(group, 0, 'kept', principal);
  for (let i = 0; i < 6; i += 1) assert.ok(await take(kept));
  await claim(group, 2, 'lost', principal);
  await group.kill(2);
  group.announce();
  const next = await claim(group, 1, 'next', principal);
  await assert.rejects(claim(group, 1, 'third', principal), code('quota'));
  const outcomes = await Promise.all(
    Array.from({ length: 12 }, (_, i) => take([kept, next][i % 2]!)),
  );
  // What the dead home knew of the asked-for budget died with it: at most one budget anew, never two.
  assert.equal(outcomes.filter(Boolean).length, 11);
  const again = await claim(group, 1, 'kept', principal);
  assert.equal(kept.takenOver, 1);
  next.release();
  again.release();
  await forgotten(group);
});

test('a budget in use survives the death of its home and the coming of a new one', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const principal = principalAt(2, [0, 1, 2]);
  const held = await claim(group, 0, 'c', principal);
  for (let i = 0; i < 8; i += 1) assert.ok(await take(held));
  await group.kill(2);
  group.announce();
  const other = await claim(group, 1, 'd', principal);
  let passed = 0;
  for (let i = 0; i < 8; i += 1) passed += (await take([held, other][i % 2]!)) ? 1 : 0;
  assert.equal(passed, 3);
});

test('an old home hands over what it knew: a worker that joins does not give anyone a fresh budget', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const moving = Array.from({ length: 30 }, (_, i) => principalName('device', `m${i}`));
  for (const principal of moving) {
    const held = await claim(group, 0, 'c', principal);
    for (let i = 0; i < 11; i += 1) assert.ok(await take(held));
    held.release();
  }
  await group.start(2);
  await group.start(3);
  group.announce();
  for (const [i, principal] of moving.entries()) {
    const held = await claim(group, i % 4, 'c', principal);
    assert.equal(await take(held), false, principal);
    held.release();
  }
  await forgotten(group);
});

test('sessions move with their homes: a takeover works after any change of members', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const principals = Array.from({ length: 40 }, (_, i) => principalName('device', `m${i}`));
  const old = await Promise.all(principals.map((p, i) => claim(group, i % 2, 'c', p)));
  await group.start(2);
  group.announce();
  const newer = await Promise.all(principals.map((p) => claim(group, 2, 'c', p)));
  assert.ok(old.every(({ takenOver }) => takenOver === 1));
  // Slot 1 drains: no member any more, still there, and its sessions still end when they are taken over.
  const draining = await claim(group, 1, 'x');
  group.announce([0, 2]);
  const newest = await Promise.all(principals.map((p) => claim(group, 0, 'c', p)));
  assert.ok(newer.every(({ takenOver }) => takenOver === 1));
  await claim(group, 2, 'x');
  assert.equal(draining.takenOver, 1);
  assert.ok(newest.every(({ takenOver }) => takenOver === 0));
});

test('two owners of one session, from when two halves did not see each other: the newer one stays', async () => {
  await using group = new PeeringGroup();
  await group.start(0);
  await group.start(1);
  for (const { peering, member } of group.workers) peering.setMembers([member]);
  const older = await claim(group, 0, 'c');
  group.hands.now += 10;
  const newer = await claim(group, 1, 'c');
  const both = [older, newer];
  for (let i = 0; i < 14; i += 1) await take(both[i % 2]!);
  group.announce();
  await eventually('the older one is gone', () => older.takenOver === 1);
  assert.equal(newer.takenOver, 0);
  let passed = 0;
  for (let i = 0; i < 11; i += 1) passed += (await take(newer)) ? 1 : 0;
  assert.equal(passed, 4, 'the fuller of the two budgets counts');
  newer.release();
  await forgotten(group);
});

test('a link that breaks and comes back loses no owner and counts nobody twice', async () => {
  await using group = await PeeringGroup.of(0, 1);
  group.sessionsPerIdentity = 2;
  const principal = principalAt(0, [0, 1]);
  const a = await claim(group, 1, 'a', principal);
  const b = await claim(group, 1, 'b', principal);
  for (let i = 0; i < 5; i += 1) assert.ok(await take(a));
  // What the home is told while the link is down is made up for when it is back.
  const { member } = group.worker(1);
  group.worker(0).peering.setMembers([group.worker(0).member, { ...member, generation: 9_999 }]);
  b.release();
  group.announce();
  const c = await claim(group, 0, 'c', principal);
  await assert.rejects(claim(group, 0, 'd', principal), code('quota'));
  let passed = 0;
  for (let i = 0; i < 12; i += 1) passed += (await take([a, c][i % 2]!)) ? 1 : 0;
  assert.equal(passed, 6);
});

test('questions about one identity that wait are bounded', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const principal = principalAt(1, [0, 1]);
  const a = await claim(group, 0, 'a', principal);
  await claim(group, 1, 'b', principal);
  const answers = Array.from({ length: 200 }, () => a.rates.take(telemetry, 1));
  assert.equal(answers.filter((answer) => answer === false).length, 200 - 64);
  assert.equal(
    (await Promise.all(answers.map(async (answer) => answer))).filter(Boolean).length,
    11,
  );
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      slot: fc.nat(4),
      client: fc.nat(2),
      device: fc.nat(2),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat(9) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('take' as const), which: fc.nat(9), count: fc.nat(4) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('join' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const), slot: fc.nat(4) }) },
);

test(
  'any order of claims, ends, joins and drains: one owner each, one budget each, nothing left over',
  { timeout: 60_000 },
  async () => {
    const plan = fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(plan, async (rounds) => {
        await using group = await PeeringGroup.of(0, 1);
        let members = [0, 1];
        let joined = Promise.resolve();
        const live: { held: Held; device: number }[] = [];
        const passed = [0, 0, 0];
        const at = (slot: number): number => members[slot % members.length] ?? 0;
        const own = async (slot: number, client: number, device: number): Promise<void> => {
          const principal = principalName('device', `x${device}`);
          live.push({ held: await claim(group, slot, `c${client}`, principal), device });
        };
        const spend = async (which: number, count: number): Promise<void> => {
          const entry = live[which % live.length];
          for (let i = 0; entry !== undefined && i < count; i += 1) {
            if (await take(entry.held)) passed[entry.device]! += 1;
          }
        };
        for (const round of rounds) {
          const underWay = round.map(async (each) => {
            switch (each.do) {
              case 'claim':
                return own(at(each.slot), each.client, each.device);
              case 'release':
                return live[each.which % live.length]?.held.release();
              case 'take':
                return spend(each.which, each.count);
              case 'join':
                joined = joined.then(async () => {
                  const slot = group.workers.length;
                  if (slot > 4) return;
                  await group.start(slot);
                  members = [...members, slot];
                  group.announce(members);
                  await group.linked();
                });
                return joined;
              case 'drain':
                // An upgrade drains the old workers when the new ones are ready.
                await joined;
                if (members.length === 1) return undefined;
                members = members.filter((slot) => slot !== at(each.slot));
                return group.announce(members);
            }
          });
          await Promise.all(underWay);
        }
        // A last claim each: whoever had the session before must have ended by then.
        const before = [...live];
        for (let i = 0; i < 9; i += 1) await own(at(i + (i % 2)), i % 3, Math.floor(i / 3));
        const last = live.slice(before.length);
        for (const { held } of last) assert.equal(held.takenOver, 0);
        for (const { held } of before) {
          const { takenOver } = held;
          held.release();
          assert.equal(held.takenOver, takenOver);
          assert.ok(takenOver <= 1);
        }
        for (let i = 0; i < 36; i += 1) await spend(before.length + (i % 9), 4);
        assert.deepEqual(passed, [11, 11, 11]);
        for (const { held } of last) held.release();
        await forgotten(group);
      }),
      { numRuns: 40 },
    );
  },
);
