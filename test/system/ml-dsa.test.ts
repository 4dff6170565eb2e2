/**
 * Post-quantum certificates behind their flags: devices with ML-DSA keys beside those with others under an ECDSA CA, and a
 * CA that is ML-DSA from the root down. Without the flag they are refused.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { makeMlDsaRequest } from '../harness/ml-dsa.ts';
import type { MlDsa } from '../harness/ml-dsa.ts';
import { makeRequest } from '../harness/openssl.ts';
import type { Request } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

const kinds: readonly MlDsa[] = ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];

async function enrolled(gateway: Gateway, id: string, { key, csr }: Request): Promise<Identity> {
  const crt = gateway.at(`${id}.crt`);
  const ca = gateway.at('ca.crt');
  await gateway.ok('device', 'enroll', id, '--csr', csr, '--out', crt);
  const view = (await gateway.ok('ca', 'show', '--json')).json() as { root: { pem: string } };
  writeFileSync(ca, view.root.pem);
  return { id, key, crt, ca };
}

/** A device that is let in. */
async function connects(gateway: Gateway, identity: Identity): Promise<void> {
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity });
  const { code } = await client.connect({ clientId: identity.id });
  assert.equal(code, 0, identity.id);
}

function leafOf({ crt }: Identity): X509Certificate {
  return new X509Certificate(readFileSync(crt));
}

test('with the flag devices with ML-DSA keys are enrolled and connect, beside others', async () => {
  await using gateway = await startGateway({
    config: 'enrolment: { keys: [ P-256, ML-DSA-44, ML-DSA-65, ML-DSA-87 ] }',
  });
  for (const kind of kinds) {
    const request = makeMlDsaRequest(gateway.at('requests'), `d-${kind}`, kind);
    const device = await enrolled(gateway, `d-${kind}`, request);
    const leaf = leafOf(device);
    assert.equal(leaf.publicKey.asymmetricKeyType, kind);
    assert.ok(leaf.checkPrivateKey(createPrivateKey(readFileSync(request.key))));
    await connects(gateway, device);
  }
  await connects(gateway, await gateway.device('usual'));
  const spoiled = makeMlDsaRequest(gateway.at('requests'), 'spoiled', 'ml-dsa-65', true);
  const refused = await gateway.cli(
    'device',
    'enroll',
    'spoiled',
    '--csr',
    spoiled.csr,
    '--out',
    gateway.at('x'),
  );
  assert.match(refused.stderr, /does not verify with its own key/);
  const check = await gateway.cli('ca', 'check');
  assert.equal(check.code, 0, check.stderr);
  await gateway.stop();
});

test('without the flag an ML-DSA key gets no certificate', async () => {
  await using gateway = await startGateway();
  const { csr } = makeMlDsaRequest(gateway.at('requests'), 'd1', 'ml-dsa-65');
  const refused = await gateway.cli(
    'device',
    'enroll',
    'd1',
    '--csr',
    csr,
    '--out',
    gateway.at('x'),
  );
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /ML-DSA-65 keys are not accepted/);
  await gateway.stop();
});

test('a kind of key that is left out of the list gets no certificate either', async () => {
  await using gateway = await startGateway({ config: 'enrolment: { keys: [ P-384 ] }' });
  const { csr } = makeRequest(gateway.at('requests'), 'd1');
  const refused = await gateway.cli(
    'device',
    'enroll',
    'd1',
    '--csr',
    csr,
    '--out',
    gateway.at('x'),
  );
  assert.match(refused.stderr, /P-256 keys are not accepted/);
  await gateway.stop();
});

test('a CA of ML-DSA-65 from the root down serves devices that can verify it', async () => {
  await using gateway = await startGateway({
    config: 'ca: { keyKind: ML-DSA-65 }\nenrolment: { keys: [ P-256, ML-DSA-65 ] }',
  });
  const request = makeMlDsaRequest(gateway.at('requests'), 'd1', 'ml-dsa-65');
  const device = await enrolled(gateway, 'd1', request);
  const [leaf = '', issuing = ''] = readFileSync(device.crt, 'utf8').split(
    /(?<=END CERTIFICATE-----\n)/,
  );
  const root = new X509Certificate(readFileSync(device.ca));
  assert.equal(root.publicKey.asymmetricKeyType, 'ml-dsa-65');
  assert.ok(new X509Certificate(issuing).verify(root.publicKey));
  assert.ok(new X509Certificate(leaf).verify(new X509Certificate(issuing).publicKey));
  await connects(gateway, device);
  await gateway.stop();
});
