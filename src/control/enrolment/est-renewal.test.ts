import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  assertRefused,
  basic,
  bodyOf,
  dayMs,
  EstWorld,
  issuedTo,
  newDevice,
} from '../../../test/harness/est-world.ts';
import type { Device } from '../../../test/harness/est-world.ts';
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

describe('by its own certificate', () => {
  async function enrolled(): Promise<{ world: EstWorld; certificate: string }> {
    const world = await openWorld();
    const d1 = newDevice('d1');
    const reply = await world.enrolBy(world.token('d1'), d1);
    return { world, certificate: issuedTo(reply, d1).raw.toString('base64') };
  }
  const renew = (world: EstWorld, certificate: string, device: Device, operation: string) =>
    world.ask({ operation, certificate, body: bodyOf(device.csr) });
  const intoWindow = (world: EstWorld): void => {
    world.clock.ms += (365 - 60) * dayMs + 3_600_000;
  };

  for (const operation of ['simplereenroll', 'simpleenroll']) {
    test(`a device renews in the window and not before (${operation})`, async () => {
      const { world, certificate } = await enrolled();
      assertRefused(await renew(world, certificate, newDevice('d1'), operation), 403, 'forbidden');
      world.clock.ms += 1_000 * dayMs;
      const expired = await renew(world, certificate, newDevice('d1'), operation);
      assertRefused(expired, 401, 'unauthenticated');
      world.clock.ms -= 1_000 * dayMs;
      const { notAfter } = world.registry.certificatesOf(principalName('device', 'd1'))[0] ?? {};
      world.clock.ms = (notAfter ?? 0) - world.settings.renewalDays * dayMs;
      const device = newDevice('d1');
      issuedTo(await renew(world, certificate, device, operation), device);
      assert.deepEqual(
        [world.audit.at(-1)?.actor, world.audit.at(-1)?.action],
        ['device/d1', 'renew'],
      );
    });
  }

  test('a certificate that has just expired is renewed as long as grace lasts, and not without it', async () => {
    const { world, certificate } = await enrolled();
    const { notAfter = 0 } = world.registry.certificatesOf(principalName('device', 'd1'))[0] ?? {};
    world.clock.ms = notAfter + 3 * dayMs;
    const without = await renew(world, certificate, newDevice('d1'), 'simplereenroll');
    assertRefused(without, 401, 'unauthenticated');
    world.settings = { ...world.settings, graceDays: 7 };
    world.clock.ms = notAfter + 7 * dayMs + 1_000;
    const late = await renew(world, certificate, newDevice('d1'), 'simplereenroll');
    assertRefused(late, 401, 'unauthenticated');
    world.clock.ms -= 1;
    const device = newDevice('d1');
    issuedTo(await renew(world, certificate, device, 'simplereenroll'), device);
    assert.equal(world.certificatesIssued('d1'), 2);
  });

  test('a device renews its own identity and no other', async () => {
    const { world, certificate } = await enrolled();
    intoWindow(world);
    const reply = await renew(world, certificate, newDevice('d2'), 'simplereenroll');
    assertRefused(reply, 400, 'invalid-csr');
    assert.equal(world.registry.get(principalName('device', 'd2')), undefined);
  });

  test('who is suspended or revoked does not renew', async () => {
    for (const action of ['suspend', 'revoke'] as const) {
      const { world, certificate } = await enrolled();
      intoWindow(world);
      world.registry.changeStanding(principalName('device', 'd1'), action);
      const reply = await renew(world, certificate, newDevice('d1'), 'simplereenroll');
      assert.ok([401, 403].includes(reply.status), `${action}: ${reply.status}`);
      assert.equal(world.certificatesIssued('d1'), 1);
    }
  });

  test('a device that renews in a loop is stopped', async () => {
    const { world, certificate } = await enrolled();
    intoWindow(world);
    const { renewalsPerDay } = world.settings;
    for (let n = 0; n < renewalsPerDay; n += 1) {
      const device = newDevice('d1');
      issuedTo(await renew(world, certificate, device, 'simplereenroll'), device);
    }
    const reply = await renew(world, certificate, newDevice('d1'), 'simplereenroll');
    assertRefused(reply, 429, 'rate');
  });

  test('renewing takes a certificate, whatever token comes with it', async () => {
    const world = await openWorld();
    const authorization = basic(world.token('d1'));
    const body = bodyOf(newDevice('d1').csr);
    const reply = await world.ask({ operation: 'simplereenroll', authorization, body });
    assertRefused(reply, 401, 'unauthenticated');
  });
});
