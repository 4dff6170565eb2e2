/** Tokens that devices sign, made by npm's jose, as the passwords of Debian's mosquitto clients. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import type { Identity } from '../harness/gateway.ts';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import type { MosquittoVersion, PubResult } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const { gateway } = await sharedGateway({
  listener: 'mqttsSigned: { host: 127.0.0.1, port: 0 }',
  config: [
    'limits: { signedFailures: 1000, sourceFailures: 100000 }',
    'routes: { telemetry: { match: devices/+/telemetry, authenticate: [ device-jwt ] } }',
  ].join('\n'),
});
await gateway.ok('device', 'register', 'd1', 'd2');
const backend = await gateway.service('be', 'backend');

/** A key of the device, and what the gateway calls it. */
async function keyOf(id: string, kind: 'P-256' | 'Ed25519'): Promise<[KeyObject, string]> {
  const pair =
    kind === 'Ed25519'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: kind });
  const file = gateway.at(`${id}-${kind}.pub`);
  writeFileSync(file, pair.publicKey.export({ format: 'pem', type: 'spki' }));
  const added = await gateway.ok('device', 'key', 'add', id, '--public', file, '--json');
  const { keyId } = added.json() as { keyId: string }; // docs/cli.md says so
  return [pair.privateKey, keyId];
}

function token(key: KeyObject, kid: string, alg: string, seconds: number): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  return new SignJWT()
    .setProtectedHeader({ alg, kid })
    .setAudience('localhost')
    .setIssuedAt(now)
    .setExpirationTime(now + seconds)
    .sign(key);
}

function publish(
  version: MosquittoVersion,
  id: string,
  password: string,
  payload: string,
): Promise<PubResult> {
  const port = gateway.run().listeners['mqttsSigned']?.port;
  assert.ok(port !== undefined);
  // The listener asks for no certificate, so none is shown.
  const identity: Identity = backend;
  const extra = ['-i', id, '-u', id, '-P', password];
  return mosquittoPub({ port, identity, version }, 'devices/d1/telemetry', payload, extra);
}

for (const [kind, alg] of [
  ['P-256', 'ES256'],
  ['Ed25519', 'EdDSA'],
] as const) {
  test(`a device without a certificate publishes with a token by ${alg}, and nobody else as it`, async () => {
    const [key, kid] = await keyOf('d1', kind);
    const target = { port: gateway.mqttsPort, identity: backend };
    await using subscriber = await MosquittoSub.start(target, 'devices/d1/telemetry');
    for (const version of ['mqttv5', 'mqttv311'] as const) {
      const payload = `{"by":"${alg} ${version}"}`;
      const good = await token(key, kid, alg, 600);
      const { code, output } = await publish(version, 'd1', good, payload);
      assert.equal(code, 0, output);
      const { topic } = await subscriber.message((message) => message.payload === payload);
      assert.equal(topic, 'devices/d1/telemetry');
      for (const [id, password] of [
        ['d2', good],
        ['d1', await token(key, kid, alg, -1)],
        ['d1', await token(key, kid, alg, 7_200)],
        ['d1', await token(key, 'd2.1', alg, 600)],
        ['d1', `${good.slice(0, -4)}AAAA`],
        ['d1', 'password'],
      ] as const) {
        const refused = await publish(version, id, password, 'never');
        assert.notEqual(refused.code, 0);
        assert.match(refused.output, /not authori[sz]ed|bad user ?name/i);
      }
    }
    assert.ok(subscriber.messages.every(({ payload }) => payload !== 'never'));
  });
}
