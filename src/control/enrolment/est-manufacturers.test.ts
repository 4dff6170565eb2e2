import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  assertRefused,
  bodyOf,
  dayMs,
  EstWorld,
  issuedTo,
  newDevice,
} from '../../../test/harness/est-world.ts';
import type { Device, Reply } from '../../../test/harness/est-world.ts';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import type { Authority, LeafOptions } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import type { ManufacturerConfig } from '../../common/config/config.ts';

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

describe('by the certificate of a manufacturer', () => {
  const acme = makeAuthority(folder.at('acme'), 'ACME IDevID CA');
  const stranger = makeAuthority(folder.at('stranger'), 'ACME IDevID CA');
  const config: ManufacturerConfig = {
    name: 'acme',
    file: 'acme.pem',
    pem: readFileSync(acme.crt, 'utf8'),
    from: 'serial-number',
    prefix: 'acme-',
    role: 'device',
  };
  let leaves = 0;
  function idevid(
    serial: string,
    options: Partial<LeafOptions> = {},
    by: Authority = acme,
  ): string {
    leaves += 1;
    const leaf = issueLeaf(by, folder.at(`leaf${leaves}`), 'leaf', acme.crt, {
      subject: `/serialNumber=${serial}/CN=Model T`,
      extensions: ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature'],
      ...options,
    });
    const [der] = decodePem('CERTIFICATE', readFileSync(leaf.crt, 'utf8'));
    assert.ok(der !== undefined);
    return der.toString('base64');
  }
  async function acmeWorld(): Promise<EstWorld> {
    const world = await openWorld();
    world.withManufacturers(config);
    return world;
  }
  const enrol = (world: EstWorld, certificate: string, { csr }: Device): Promise<Reply> =>
    world.ask({ certificate, body: bodyOf(csr) });

  test('a new device enrols as the one that its certificate names', async () => {
    const world = await acmeWorld();
    const device = newDevice('acme-sn1');
    issuedTo(await enrol(world, idevid('sn1'), device), device);
    assert.equal(world.audit[0]?.actor, 'manufacturer:acme');
  });

  test('after a reset it comes back, by the key that it was born with and by no other', async () => {
    const world = await acmeWorld();
    const born = idevid('sn1');
    await enrol(world, born, newDevice('acme-sn1'));
    const reset = newDevice('acme-sn1');
    issuedTo(await enrol(world, born, reset), reset);
    const cloned = await enrol(world, idevid('sn1'), newDevice('acme-sn1'));
    assertRefused(cloned, 403, 'forbidden');
    world.registry.changeStanding(principalName('device', 'acme-sn1'), 'revoke');
    assertRefused(await enrol(world, born, newDevice('acme-sn1')), 403, 'standing');
    assert.equal(world.certificatesIssued('acme-sn1'), 2);
  });

  test('one that comes back in a loop is stopped for the day, as one that renews in a loop is', async () => {
    const world = await acmeWorld();
    const born = idevid('sn1');
    const { renewalsPerDay } = world.settings;
    for (let n = 0; n < renewalsPerDay; n += 1) {
      const device = newDevice('acme-sn1');
      issuedTo(await enrol(world, born, device), device);
    }
    assertRefused(await enrol(world, born, newDevice('acme-sn1')), 429, 'rate');
    assert.equal(world.certificatesIssued('acme-sn1'), renewalsPerDay);
    world.clock.ms += dayMs;
    const device = newDevice('acme-sn1');
    issuedTo(await enrol(world, born, device), device);
  });

  test('it takes a few places in the queue at most, however many keys it makes', async () => {
    const world = await acmeWorld();
    world.settings = { ...world.settings, approval: 'manufacturer', requests: 6 };
    const born = idevid('sn1');
    for (let n = 0; n < 4; n += 1) {
      assert.equal((await enrol(world, born, newDevice('acme-sn1'))).status, 202);
    }
    for (const { number } of world.pending.list({ after: 0, limit: 2 })) {
      world.pending.decide(number, 'denied', { by: 'local:0', reason: undefined });
    }
    assertRefused(await enrol(world, born, newDevice('acme-sn1')), 503, 'quota');
    assert.equal((await enrol(world, idevid('sn2'), newDevice('acme-sn2'))).status, 202);
  });

  test('it does not become a device that somebody else has registered', async () => {
    const world = await acmeWorld();
    await world.enrolBy(world.token('acme-sn1'), newDevice('acme-sn1'));
    assertRefused(await enrol(world, idevid('sn1'), newDevice('acme-sn1')), 403, 'forbidden');
    assert.equal(world.certificatesIssued('acme-sn1'), 1);
  });

  test('it waits for an operator where that is the rule, though tokens do not', async () => {
    const world = await acmeWorld();
    world.settings = { ...world.settings, approval: 'manufacturer' };
    const born = idevid('sn1');
    const device = newDevice('acme-sn1');
    assert.equal((await enrol(world, born, device)).status, 202);
    world.pending.decide(1, 'approved', { by: 'local:0', reason: undefined });
    issuedTo(await enrol(world, born, device), device);
    const reset = newDevice('acme-sn1');
    assert.equal((await enrol(world, born, reset)).status, 202, 'known again by its key');
    const d1 = newDevice('d1');
    issuedTo(await world.enrolBy(world.token('d1'), d1), d1);
  });

  const past = {
    notBefore: new Date(Date.now() - 2 * dayMs),
    notAfter: new Date(Date.now() - dayMs),
  };
  const bad: Readonly<Record<string, () => string>> = {
    'of a CA of the same name': () => idevid('sn1', {}, stranger),
    'that has expired': () => idevid('sn1', past),
    'that names nobody': () => idevid('x', { subject: '/CN=acme-sn1' }),
    'that names two': () => idevid('x', { subject: '/serialNumber=sn1/serialNumber=sn2/CN=m' }),
    'with an id that is none': () => idevid('a\\/b'),
    'of a CA itself': () =>
      idevid('sn1', { extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=keyCertSign'] }),
    'that is the CA': () =>
      decodePem('CERTIFICATE', readFileSync(acme.crt, 'utf8'))[0]?.toString('base64') ?? '',
    'that is no certificate': () => Buffer.from('nothing').toString('base64'),
    'that is nothing': () => '',
  };
  for (const [what, make] of Object.entries(bad)) {
    test(`a certificate ${what} is refused`, async () => {
      const world = await acmeWorld();
      assertRefused(await enrol(world, make(), newDevice('acme-sn1')), 401, 'unauthenticated');
      assert.equal(world.registry.count().device, 0);
    });
  }

  test('it renews nothing, and the name in the request is the one in the certificate', async () => {
    const world = await acmeWorld();
    const born = idevid('sn1');
    const device = newDevice('acme-sn1');
    const body = bodyOf(device.csr);
    const renewal = await world.ask({ operation: 'simplereenroll', certificate: born, body });
    assertRefused(renewal, 401, 'unauthenticated');
    assertRefused(await enrol(world, born, newDevice('acme-sn2')), 400, 'invalid-csr');
    assert.equal(world.registry.count().device, 0);
  });

  test('each of several manufacturers names its own devices, whatever is in the files of the others', async () => {
    const world = await openWorld();
    const broken = '-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n';
    world.withManufacturers(
      { ...config, name: 'broken', pem: broken, prefix: '' },
      { ...config, name: 'other', pem: readFileSync(stranger.crt, 'utf8'), prefix: 'other-' },
      config,
    );
    const ours = newDevice('acme-sn1');
    issuedTo(await enrol(world, idevid('sn1'), ours), ours);
    const others = newDevice('other-sn1');
    issuedTo(await enrol(world, idevid('sn1', {}, stranger), others), others);
  });

  test('a manufacturer that is taken out of the configuration opens nothing any more', async () => {
    const world = await acmeWorld();
    world.withManufacturers();
    assertRefused(await enrol(world, idevid('sn1'), newDevice('acme-sn1')), 401, 'unauthenticated');
  });
});
