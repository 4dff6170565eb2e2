/** A gateway whose CA keys live in a hardware token: first start, service, restart, the way there from sealed files, and what goes wrong. */
import assert from 'node:assert/strict';
import { chownSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { wingUsers } from '../../src/supervisor/users.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, GatewayOptions, Identity } from '../harness/gateway.ts';
import { mosquittoPub } from '../harness/mosquitto.ts';
import { argumentsOf, environmentOf } from '../harness/processes.ts';
import { softHsm } from '../harness/soft-hsm.ts';
import type { SoftHsm } from '../harness/soft-hsm.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';

/** A token in control's own folder, which exists before the first start only for this. */
function tokenFor(folder: TemporaryFolder): SoftHsm {
  const control = folder.at('data', 'control');
  mkdirSync(control, { recursive: true, mode: 0o700 });
  const owner = wingUsers(() => {})?.control;
  if (owner !== undefined) chownSync(control, owner.uid, owner.gid);
  return softHsm({ folder: control, owner });
}

function withToken(folder: TemporaryFolder, hsm: SoftHsm, pin = hsm.pin): GatewayOptions {
  return {
    folder,
    files: { 'hsm.pin': `${pin}\n` },
    env: hsm.environment,
    config: [
      'ca:',
      '  pkcs11:',
      `    module: ${hsm.module}`,
      `    token: ${hsm.token}`,
      '    pin: { file: hsm.pin }',
      '    environment: [ SOFTHSM2_CONF ]',
    ].join('\n'),
  };
}

/** Keys of CAs in the data directory: not the server's own, which workers hold to answer TLS. */
function caKeysOnDisk(gateway: Gateway): readonly string[] {
  return readdirSync(`${gateway.dataDir}/control/ca`)
    .filter((file) => file.endsWith('.sealed') && !file.startsWith('server'))
    .toSorted();
}

async function publishes(gateway: Gateway, identity: Identity): Promise<void> {
  const target = { port: gateway.mqttsPort, identity };
  const topic = `devices/${identity.id}/telemetry`;
  assert.deepEqual(await mosquittoPub(target, topic, '{}'), { code: 0, output: '' });
}

async function rootOf(gateway: Gateway): Promise<unknown> {
  const view = (await gateway.ok('ca', 'show', '--json')).json();
  assert.ok(typeof view === 'object' && view !== null && 'root' in view);
  return view.root;
}

test('the first start makes the CA in the token, and no CA key touches the disk', async () => {
  using folder = temporaryFolder();
  const hsm = tokenFor(folder);
  const options = withToken(folder, hsm);
  let root: unknown;
  let device: Identity;
  {
    await using gateway = await startGateway(options);
    device = await gateway.device('d1');
    await publishes(gateway, device);
    root = await rootOf(gateway);
    assert.deepEqual(caKeysOnDisk(gateway), []);
    assert.ok(hsm.objects().length >= 4, 'a private and a public key of root and issuing CA');
    await gateway.stop();
  }
  await using again = await startGateway(options);
  assert.deepEqual(await rootOf(again), root);
  await publishes(again, device);
  const ids = Array.from({ length: 50 }, (_, i) => `fleet-${i}`);
  for (const each of (await again.devices(...ids)).slice(-2)) await publishes(again, each);

  const refused = await again.cli('ca', 'export-root', folder.at('root.key'));
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /never leaves its token/);
  assert.deepEqual(await rootOf(again), root);
  await publishes(again, await again.device('d2'));
  await again.stop();
});

for (const [what, spoil, said] of [
  [
    'a wrong PIN',
    (folder: TemporaryFolder, hsm: SoftHsm) => withToken(folder, hsm, '0000'),
    /refuses the PIN/,
  ],
  [
    'no token of that label',
    (folder: TemporaryFolder, hsm: SoftHsm) => withToken(folder, { ...hsm, token: 'elsewhere' }),
    /no token named .*elsewhere/,
  ],
  [
    'no such module',
    (folder: TemporaryFolder, hsm: SoftHsm) => withToken(folder, { ...hsm, module: '/no.so' }),
    /PKCS#11 module \/no\.so/,
  ],
] as const) {
  test(`with ${what} the gateway does not start, says why, and makes no key elsewhere`, async () => {
    using folder = temporaryFolder();
    const hsm = tokenFor(folder);
    await assert.rejects(startGateway(spoil(folder, hsm)), said);
    const ca = folder.at('data', 'control', 'ca');
    assert.deepEqual(existsSync(ca) ? readdirSync(ca) : [], []);
    assert.deepEqual(hsm.objects(), []);
  });
}

test('a token that lost the CA keys is no reason to begin another CA', async () => {
  using folder = temporaryFolder();
  const hsm = tokenFor(folder);
  {
    await using gateway = await startGateway(withToken(folder, hsm));
    await gateway.stop();
  }
  rmSync(folder.at('data', 'control', 'hsm'), { recursive: true });
  const empty = tokenFor(folder);
  await assert.rejects(
    startGateway(withToken(folder, empty)),
    /key of the issuing certificate is not here/,
  );
  assert.deepEqual(empty.objects(), []);
});

test('a CA that began with sealed files goes on with them, and moves into the token by rotation', async () => {
  using folder = temporaryFolder();
  const hsm = tokenFor(folder);
  let device: Identity;
  {
    await using gateway = await startGateway({ folder });
    device = await gateway.device('d1');
    assert.doesNotMatch(argumentsOf(gateway.controlPid), /allow-addons/);
    await gateway.stop();
  }
  await using gateway = await startGateway(withToken(folder, hsm));
  // Native code is let into control for the token only, and the secret is in nothing that others can see.
  assert.match(argumentsOf(gateway.controlPid), /allow-addons/);
  for (const seen of [argumentsOf, environmentOf]) {
    assert.ok(!seen(gateway.controlPid).includes(hsm.pin));
  }
  await publishes(gateway, device);
  await publishes(gateway, await gateway.device('d2'));
  // The key of the next generation was made, and pinned, before there was a token: it serves first.
  await gateway.ok('ca', 'rotate');
  await gateway.ok('ca', 'rotate');
  const newest = await gateway.device('d3');
  for (const each of [device, newest]) await publishes(gateway, each);
  assert.ok(!caKeysOnDisk(gateway).includes('issuing-3.key.sealed'));
  assert.match(hsm.run('sh', '-c', 'cat hsm/*/*.object | strings'), /sallyport\/issuing-3/);
  await gateway.stop();
});
