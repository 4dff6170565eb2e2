import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  assertRefused,
  basic,
  bodyOf,
  EstWorld,
  issuedTo,
  newDevice,
} from '../../../test/harness/est-world.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';

const folder = temporaryFolder();
const start = process.cwd();
before(() => process.chdir(folder.path));
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

let worlds = 0;
function openWorld(): Promise<EstWorld> {
  worlds += 1;
  return EstWorld.open(folder.at(`${worlds}.db`));
}

/** What is wrong; how the token came about; who comes with it; what the device is told. */
const abuses: Readonly<
  Record<string, readonly [(world: EstWorld) => Promise<string> | string, string, number, RegExp]>
> = {
  guessed: [() => 'A'.repeat(43), 'd1', 401, /no such token/],
  'one letter off': [
    (world) => {
      const secret = world.token('d1');
      return `${secret.startsWith('A') ? 'B' : 'A'}${secret.slice(1)}`;
    },
    'd1',
    401,
    /no such token/,
  ],
  'the hash of a token': [(world) => world.token('d1').padEnd(64, '0'), 'd1', 401, /no such token/],
  empty: [() => '', 'd1', 401, /no such token/],
  'a name of the prototype': [() => '__proto__', 'd1', 401, /no such token/],
  'used twice': [
    async (world) => {
      const secret = world.token('d1');
      await world.enrolBy(secret, newDevice('d1'));
      return secret;
    },
    'd1',
    401,
    /the token is used/,
  ],
  late: [
    (world) => {
      const secret = world.token('d1', 1, 60_000);
      world.clock.ms += 60_000;
      return secret;
    },
    'd1',
    401,
    /the token is late/,
  ],
  withdrawn: [
    (world) => {
      const secret = world.token('d1');
      world.tokens.withdraw(1);
      return secret;
    },
    'd1',
    401,
    /the token is withdrawn/,
  ],
  'from before its device was revoked and reinstated': [
    async (world) => {
      const d1 = principalName('device', 'd1');
      await world.enrolBy(world.token('d1'), newDevice('d1'));
      const secret = world.token('d1');
      world.registry.changeStanding(d1, 'revoke');
      world.registry.changeStanding(d1, 'reinstate');
      return secret;
    },
    'd1',
    401,
    /the token is withdrawn/,
  ],
  'for another device': [(world) => world.token('d2'), 'd1', 403, /the token is for device\/d2/],
  'for new devices, by one that exists': [
    async (world) => {
      await world.enrolBy(world.token('d1'), newDevice('d1'));
      return world.token();
    },
    'd1',
    403,
    /d1 exists/,
  ],
};

describe('a token that is no good', () => {
  for (const [what, [make, id, status, reason]] of Object.entries(abuses)) {
    test(`${what}: refused, on record, counted and slowed down`, async () => {
      const world = await openWorld();
      const secret = await make(world);
      const issued = world.certificatesIssued(id);
      const limit = world.settings.tokenFailures;
      for (let n = 0; n < limit; n += 1) {
        const reply = await world.enrolBy(secret, newDevice(id));
        assertRefused(reply, status, status === 401 ? 'unauthenticated' : 'forbidden');
        assert.equal(reply.body.includes('d2'), false, 'nothing is told of the token');
      }
      assert.equal(world.certificatesIssued(id), issued, 'nothing issued');
      const lines = world.refusals();
      assert.equal(lines.length, limit);
      for (const { detail } of lines) assert.match(JSON.stringify(detail), reason);
      assert.equal(
        [...world.tally.counts].reduce((sum, [code, n]) => sum + (code === 'issued' ? 0 : n), 0),
        limit,
      );

      const good = world.token('d9');
      const slowed = await world.enrolBy(good, newDevice('d9'));
      assertRefused(slowed, 429, 'rate');
      const elsewhere = newDevice('d8');
      issuedTo(await world.enrolBy(world.token('d8'), elsewhere, '198.51.100.7'), elsewhere);
      world.clock.ms += Number(slowed.headers['retry-after']) * 1_000;
      const d9 = newDevice('d9');
      issuedTo(await world.enrolBy(good, d9), d9);
    });
  }

  test('strangers with many addresses, or a worker that makes them up, are bounded; a good token is not', async () => {
    const world = await openWorld();
    const d1 = newDevice('d1');
    const guess = (n: number) => ({
      authorization: basic('A'.repeat(43)),
      body: bodyOf(d1.csr),
      address: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
    });
    let n = 0;
    while ((await world.ask(guess(n))).status === 401) {
      n += 1;
      assert.ok(n < 5_000, 'there is a bound');
    }
    const address = '192.0.2.200';
    assertRefused(await world.ask({ ...guess(0), address }, 0), 429, 'rate');
    const used = world.token('d1');
    const fields = { authorization: basic(used), body: bodyOf(d1.csr), address };
    issuedTo(await world.ask(fields, 0), d1);
    assertRefused(await world.ask(fields, 0), 429, 'rate');
    assertRefused(await world.ask({ ...guess(0), address }, 1), 401, 'unauthenticated');
  });

  test('who floods the audit log with refusals writes a bounded number of lines, and the rest is counted', async () => {
    const world = await openWorld();
    world.settings = { ...world.settings, tokenFailures: 10_000 };
    const secret = world.token('d2', 10_000);
    const d1 = newDevice('d1');
    for (let n = 0; n < 300; n += 1) await world.enrolBy(secret, d1, `10.0.0.${n & 255}`);
    assert.equal(world.tally.counts.get('forbidden'), 300);
    const lines = world.refusals().length;
    assert.ok(lines > 0 && lines <= 60, `${lines} lines`);
    world.clock.ms += 60_000;
    await world.enrolBy(secret, d1);
    assert.equal(world.refusals().at(-1)?.detail?.['suppressed'], 300 - lines);
  });
});
