/**
 * Whoever signs as the documents say is let in: the programs of docs/signatures.md as they stand there, by Python, and by
 * curl with openssl; and RFC 9421 by the npm package http-message-signatures.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac, createSecretKey, generateKeyPairSync, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createSigner, httpbis } from 'http-message-signatures';
import { repositoryRoot } from '../harness/cli.ts';
import { blockWith, commandsWith } from '../harness/doc-commands.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import type { HmacKey } from '../harness/iot-signature.ts';
import { iotHeaders, newNonce } from '../harness/iot-signature.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';

const run = promisify(execFile);
const config = `
limits: { identityRates: { device: [] } }
routes:
  telemetry:
    match: devices/+/telemetry
    rate: []
    integrity: { accept: [ hmac, http-signature ], clock: 5m, required: true }
  status:
    match: devices/+/status
    integrity: { accept: [ body-hmac ], clock: 5m, required: true }
`;
const { gateway, port, connect } = await sharedGateway({ config });
const d1 = await gateway.device('d1');
const keyFile = gateway.at('d1.key.json');
await gateway.ok('device', 'key', 'add', 'd1', '--out', keyFile);
const key = JSON.parse(readFileSync(keyFile, 'utf8')) as HmacKey; // what the programs read, too
const payload = '{"temp": 22.5, "unit": "C"}';
const url = `https://localhost:${gateway.httpsPort}/api/v1/telemetry`;
const { ca, crt, key: privateKey } = d1;

function program(name: string, text: string): string {
  const path = gateway.at(name);
  writeFileSync(path, text);
  return path;
}

async function post(path: string, body: string, headers: Readonly<Record<string, string>>) {
  using device = HttpsDevice.of(gateway, d1);
  return (await device.requestAlone('POST', path, { body, headers })).status;
}

test('the Python program of the documentation is accepted, and with another key refused', async () => {
  const send = program('send.py', blockWith('signatures.md', 'python', 'send.py'));
  const { stdout } = await run('python3', [send, url, keyFile, ca, crt, privateKey]);
  assert.equal(stdout, '202\n');
  const other = gateway.at('other.json');
  writeFileSync(other, JSON.stringify({ ...key, key: '00'.repeat(32) }));
  await assert.rejects(run('python3', [send, url, other, ca, crt, privateKey]), {
    stderr: '401 {"type":"about:blank","title":"Unauthorized","status":401,"code":"integrity"}\n',
  });
});

/** Uses the function of the documentation with Debian's paho; publishes what it is told and leaves. */
const publisher = `
import json, sys
import paho.mqtt.client as mqtt

port, key_file, ca, certificate, private_key, payload = sys.argv[1:]
with open(key_file) as file:
    registered = json.load(file)
topic = "devices/d1/telemetry"


def publish(client, *rest):
    properties = signed(registered, topic, payload.encode())
    client.publish(topic, payload, qos=1, properties=properties)


client = mqtt.Client(protocol=mqtt.MQTTv5)
client.tls_set(ca, certificate, private_key)
client.on_connect, client.on_publish = publish, lambda client, *rest: client.disconnect()
client.connect("localhost", int(port))
client.loop_forever()
`;

test('what Python signs over MQTT with the function of the documentation is passed on, and nothing else', async () => {
  const code = blockWith('signatures.md', 'python', 'def signed') + publisher;
  const publish = program('publish.py', code);
  const other = gateway.at('other-mqtt.json');
  writeFileSync(other, JSON.stringify({ ...key, key: '00'.repeat(32) }));
  using backend = await connect(await gateway.service('be', 'backend'));
  assert.deepEqual(await backend.subscribe('devices/d1/telemetry'), [1]);
  const send = (file: string, body: string) =>
    run('/usr/bin/python3', [publish, String(port), file, ca, crt, privateKey, body]);
  await send(other, '{"wrong":1}');
  await send(keyFile, '{"right":1}');
  await backend.message(({ payload: body }) => body === '{"right":1}');
  assert.deepEqual(
    backend.messages.map(({ payload: body }) => body),
    ['{"right":1}'],
  );
});

test('the commands of the documentation, with openssl and curl, are accepted', async () => {
  const commands = commandsWith('signatures.md', 'hexkey');
  const script = program('send.sh', `set -eu\n${commands}`);
  const env = {
    ...process.env,
    KEY_ID: key.keyId,
    KEY: key.key,
    GATEWAY: `https://localhost:${gateway.httpsPort}`,
  };
  const files = commands.replace('ca.crt', ca).replace('d1.crt', crt).replace('d1.key', privateKey);
  writeFileSync(script, `set -eu\n${files}`);
  await run('sh', [script], { env });
  await assert.rejects(run('sh', [script], { env: { ...env, KEY: '00'.repeat(32) } }));
});

test('the body alone, signed as a line of Python has always done it, is accepted where a route takes that', async () => {
  const line = blockWith('signatures.md', 'python', 'hmac.new(key, payload');
  const text = [
    'import hashlib, hmac, sys',
    'key, payload = bytes.fromhex(sys.argv[1]), sys.argv[2].encode()',
    line,
    'print(signature)',
  ].join('\n');
  const { stdout } = await run('python3', ['-c', text, key.key, payload]);
  const headers = { 'x-iot-signature': stdout.trim() };
  assert.equal(await post('/api/v1/status', payload, headers), 202);
  assert.equal(await post('/api/v1/status', payload, headers), 401, 'the same again');
  assert.equal(await post('/api/v1/status', '{"temp": 99}', headers), 401);
  assert.equal(await post('/api/v1/telemetry', payload, headers), 401, 'not taken there');
  const whole = iotHeaders(key, { method: 'POST', path: '/api/v1/status', body: payload });
  assert.equal(await post('/api/v1/status', payload, whole), 401, 'nor the other form here');
});

const pairs = {
  'ecdsa-p256-sha256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'ecdsa-p384-sha384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ed25519: generateKeyPairSync('ed25519'),
} as const;

async function registered(publicKey: KeyObject, algorithm: string): Promise<string> {
  const file = gateway.at(`${algorithm}.pem`);
  writeFileSync(file, publicKey.export({ type: 'spki', format: 'pem' }));
  const { stdout } = await gateway.ok('device', 'key', 'add', 'd1', '--public', file, '--json');
  return (JSON.parse(stdout) as HmacKey).keyId; // docs/openapi says so
}

async function messageHeaders(
  keyId: string,
  algorithm: string,
  privateKeyOf: KeyObject,
): Promise<Record<string, string>> {
  const signed = await httpbis.signMessage(
    {
      key: createSigner(privateKeyOf, algorithm, keyId),
      fields: ['@method', '@target-uri', '@authority', 'content-type', 'content-digest'],
      params: ['created', 'expires', 'nonce', 'keyid', 'alg'],
      paramValues: { nonce: newNonce() },
    },
    {
      method: 'POST',
      url,
      headers: {
        host: new URL(url).host,
        'content-type': 'application/json',
        'content-digest': `sha-256=:${hash('sha256', payload, 'base64')}:`,
      },
    },
  );
  return Object.fromEntries(
    Object.entries(signed.headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
}

for (const algorithm of [
  'hmac-sha256',
  'ecdsa-p256-sha256',
  'ecdsa-p384-sha384',
  'ed25519',
] as const) {
  test(`http-message-signatures of npm signs by ${algorithm}: accepted once, and not when it was changed`, async () => {
    const isHmac = algorithm === 'hmac-sha256';
    const keyId = isHmac ? key.keyId : await registered(pairs[algorithm].publicKey, algorithm);
    const signing = isHmac
      ? createSecretKey(Buffer.from(key.key, 'hex'))
      : pairs[algorithm].privateKey;
    const headers = await messageHeaders(keyId, algorithm, signing);
    const path = '/api/v1/telemetry';
    assert.equal(await post(path, '{"temp": 99.9, "unit": "C"}', headers), 401);
    assert.equal(await post(path, payload, { ...headers, 'content-type': 'text/plain' }), 401);
    assert.equal(await post(path, payload, headers), 202);
    assert.equal(await post(path, payload, headers), 401, 'a replay');
  });
}

test('the examples of the documentation are what it says', () => {
  const document = readFileSync(join(repositoryRoot, 'docs', 'signatures.md'), 'utf8');
  const [, exampleKey = '', body = ''] =
    /With the key `([0-9a-f]{64})` and the body `(.*?)`$/m.exec(document) ?? [];
  assert.equal(body, payload);
  const secret = Buffer.from(exampleKey, 'hex');
  const sign = (text: string, encoding: 'hex' | 'base64'): string =>
    createHmac('sha256', secret).update(text).digest(encoding);

  const form = blockWith('signatures.md', 'text', 'SALLYPORT-HMAC-SHA256').replace(/\n$/, '');
  assert.equal(form.split('\n').at(-1), hash('sha256', body));
  const published = form
    .replace('POST', 'PUBLISH')
    .replace('/api/v1/telemetry', 'devices/d1/telemetry');
  assert.ok(document.includes(`is signed \`${sign(form, 'hex')}\``));
  assert.ok(document.includes(`\`${sign(published, 'hex')}\``));

  const base = blockWith('signatures.md', 'text', '"@method"').replace(/\n$/, '');
  const sent = blockWith('signatures.md', 'http', 'Signature-Input');
  assert.ok(base.includes(`sha-256=:${hash('sha256', body, 'base64')}:`));
  assert.ok(sent.includes(`Signature: sig=:${sign(base, 'base64')}:`));
  const [, parameters = ''] = /"@signature-params": (.*)$/.exec(base) ?? [];
  assert.ok(sent.includes(`Signature-Input: sig=${parameters}\n`));
});
