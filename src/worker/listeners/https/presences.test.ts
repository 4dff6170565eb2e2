import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../../common/base/errors.ts';
import { principalName } from '../../../common/base/principal.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import { HandClock } from '../../policy/test-support.ts';
import { Presences } from './presences.ts';

const d1 = principalName('device', 'd1');
const home = '192.0.2.1';

interface Claimed {
  readonly principal: PrincipalName;
  readonly clientId: string;
  readonly remote: string;
  readonly takeOver: () => void;
  released: boolean;
}

function setUp() {
  const clock = new HandClock();
  const claims: Claimed[] = [];
  const state: { refuse: boolean; held: Promise<void> | undefined } = {
    refuse: false,
    held: undefined,
  };
  const presences = new Presences({
    clock,
    clientId: '@w',
    limits: () => ({ connectionsPerIdentity: 4 }),
    claim: async (principal, clientId, takeOver, remote) => {
      if (state.refuse) throw new SallyportError('busy', 'no home');
      const claimed: Claimed = { principal, clientId, remote, takeOver, released: false };
      claims.push(claimed);
      await state.held;
      return {
        rates: { take: () => !claimed.released },
        release: () => {
          assert.equal(claimed.released, false, 'released twice');
          claimed.released = true;
        },
      };
    },
  });
  return { clock, claims, presences, state };
}

test('an identity has so many connections and no more, from wherever they come', async () => {
  const { presences, state } = setUp();
  const first = await presences.join(d1, home);
  for (const other of ['192.0.2.2', '192.0.2.3', '2001:db8::1']) await presences.join(d1, other);
  const refused = { code: 'quota', message: /connectionsPerIdentity/ };
  await assert.rejects(presences.join(d1, '192.0.2.4'), refused);
  await presences.join(principalName('device', 'd2'), home);
  first.leave();
  state.refuse = true;
  await assert.rejects(presences.join(d1, '192.0.2.5'), { code: 'busy' });
  state.refuse = false;
  await presences.join(d1, '192.0.2.5');
  await assert.rejects(presences.join(d1, '192.0.2.6'), refused);
});

test('however many connections, one claim; it outlives the last one by a little', async () => {
  const { clock, claims, presences } = setUp();
  const joined = await Promise.all([
    presences.join(d1, home),
    presences.join(d1, home),
    presences.join(d1, home),
  ]);
  const [claimed] = claims;
  assert.ok(claimed !== undefined && claims.length === 1);
  assert.deepEqual([claimed.clientId, claimed.remote], ['@w 192.0.2.1', home]);
  assert.equal(new Set(joined.map((presence) => presence.nextId())).size, 3);
  for (const presence of joined) presence.leave();
  clock.time += 9_000;
  presences.sweep();
  assert.equal(claimed.released, false);
  const again = await presences.join(d1, home);
  clock.time += 60_000;
  presences.sweep();
  assert.equal(claims.length, 1, 'a connection per message does not claim anew');
  again.leave();
  clock.time += 10_000;
  presences.sweep();
  assert.equal(claimed.released, true);
  assert.equal(presences.size, 0);
});

test('each source of an identity has a claim of its own, so that its home knows where it is used', async () => {
  const { claims, presences } = setUp();
  const here = await presences.join(d1, '2001:db8::1');
  const sameLine = await presences.join(d1, '2001:db8::2');
  const elsewhere = await presences.join(d1, '192.0.2.1');
  assert.deepEqual(
    claims.map(({ clientId, remote }) => [clientId, remote]),
    [
      ['@w 2001:db8:0:0', '2001:db8::1'],
      ['@w 192.0.2.1', '192.0.2.1'],
    ],
  );
  assert.equal(new Set([here, sameLine, elsewhere].map((each) => each.nextId())).size, 3);
  for (const each of [here, sameLine, elsewhere]) each.leave();
  presences.close();
  assert.ok(claims.every(({ released }) => released));
});

test('a claim that is refused leaves nothing behind, and the next one tries again', async () => {
  const { claims, presences, state } = setUp();
  state.refuse = true;
  await assert.rejects(presences.join(d1, home), { code: 'busy' });
  assert.equal(presences.size, 0);
  state.refuse = false;
  await presences.join(d1, home);
  assert.equal(claims.length, 1);
});

test('a claim that was lost is made anew when something is to be taken', async () => {
  const { claims, presences, state } = setUp();
  const { rates } = await presences.join(d1, home);
  assert.equal(rates.take([], 1), true);
  claims[0]?.takeOver();
  assert.equal(await rates.take([], 1), true);
  assert.equal(claims.length, 2);
  claims[1]?.takeOver();
  state.refuse = true;
  assert.equal(await rates.take([], 1), false, 'nothing is taken unasked');
});

test('a claim that is lost before it is settled is none', async () => {
  const { claims, presences, state } = setUp();
  const held = Promise.withResolvers<void>();
  state.held = held.promise;
  const joining = presences.join(d1, home);
  claims[0]?.takeOver();
  held.resolve();
  await assert.rejects(joining, { code: 'busy' });
  assert.equal(presences.size, 0);
});

test('who lingers is bounded: the oldest goes first', async () => {
  const { claims, presences } = setUp();
  for (let i = 0; i <= 10_000; i += 1) {
    (await presences.join(principalName('device', `d${i}`), home)).leave();
  }
  assert.equal(presences.size, 10_000);
  assert.equal(claims[0]?.released, true);
  assert.equal(claims[1]?.released, false);
  presences.close();
  assert.equal(presences.size, 0);
});
