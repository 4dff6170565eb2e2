/** `tls.approvedOnly` as OpenSSL sees it from outside: what is refused, what remains, and that the operator is told. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { mosquittoPub } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

const { gateway, connect } = await sharedGateway({ config: 'tls: { approvedOnly: true }' });
const device = await gateway.device('d1');

/** Whether a handshake with these options of `openssl s_client` is made. */
function shakes(port: number, ...options: readonly string[]): boolean {
  const { key, crt, ca } = device;
  const identity = ['-CAfile', ca, '-cert', crt, '-key', key];
  const to = ['-connect', `127.0.0.1:${port}`, '-servername', 'localhost'];
  const { stdout } = spawnSync('openssl', ['s_client', ...to, ...identity, ...options], {
    input: '',
    encoding: 'utf8',
    timeout: 20_000,
  });
  // A handshake that failed has no cipher.
  return /^ *(?:New, TLSv1\.[23], Cipher is (?!\(NONE\)))/m.test(stdout);
}

const listeners = ['mqtts', 'https', 'admin'];

for (const name of listeners) {
  const port = (): number => {
    const address = gateway.run().listeners[name];
    assert.ok(address !== undefined);
    return address.port;
  };

  test(`${name}: AES-GCM over P-256 and P-384 remains`, () => {
    for (const group of ['P-256', 'P-384']) {
      for (const suite of ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384']) {
        const options = ['-tls1_3', '-groups', group, '-ciphersuites', suite];
        assert.ok(shakes(port(), ...options), `${group} ${suite}`);
      }
    }
  });

  test(`${name}: TLS 1.2, X25519 alone and ChaCha20-Poly1305 are refused`, () => {
    assert.ok(!shakes(port(), '-tls1_2'));
    assert.ok(!shakes(port(), '-tls1_3', '-groups', 'X25519'));
    assert.ok(!shakes(port(), '-tls1_3', '-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256'));
  });
}

test('clients that know P-256 or the hybrid exchange are served', async () => {
  const target = { port: gateway.mqttsPort, identity: device };
  assert.equal((await mosquittoPub(target, 'devices/d1/telemetry', '{}')).code, 0);
  using client = await connect(device);
  assert.ok(client);
  const groups = (): readonly unknown[] =>
    gateway.log
      .lines((line) => line.get('msg') === 'connected' && line.has('mqtt'))
      .map((line) => line.get('group'));
  await until('both lines of the log', 30_000, () => groups().length === 2);
  assert.deepEqual(groups(), ['P-256', 'X25519MLKEM768']);
});

test('the log of the start says what is ruled out', () => {
  const told = gateway.log
    .lines((line) => String(line.get('msg')).startsWith('tls.approvedOnly rules out'))
    .map((line) => String(line.get('msg')));
  for (const what of ['TLS 1.2', 'X25519', 'ChaCha20', 'RSA']) {
    assert.ok(
      told.some((line) => line.includes(what)),
      what,
    );
  }
});
