/** TLS 1.2 and 1.3 only, ECDHE with AEAD only, no renegotiation: shown from the client's side, by openssl and node:tls. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

const gateway = await startGateway();
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const port = gateway.mqttsPort;
const d1 = await gateway.device('d1');

/**
 * Runs `openssl s_client`. It ends with its input, right after the handshake; or, when there is something to `say`, when
 * the gateway closes.
 */
function sClient(args: readonly string[], say?: string): Promise<string> {
  const child = spawn(
    'openssl',
    ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'localhost'].concat(
      ['-CAfile', d1.ca, '-cert', d1.crt, '-key', d1.key],
      args,
    ),
    { stdio: ['pipe', 'pipe', 'pipe'], timeout: 20_000 },
  );
  let output = '';
  const keep = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  // It may be gone before it has read its input.
  child.stdin.on('error', () => {});
  if (say === undefined) child.stdin.end();
  else child.stdin.write(say);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve(output));
  });
}

for (const version of ['-tls1_2', '-tls1_3']) {
  test(`openssl s_client ${version} is welcome`, async () => {
    const output = await sClient([version]);
    assert.match(output, /Verify return code: 0 \(ok\)|Verification: OK/);
    assert.match(
      output,
      version === '-tls1_2' ? /TLSv1\.2, Cipher is ECDHE/ : /TLSv1\.3, Cipher is TLS_/,
    );
  });
}

for (const version of ['-tls1', '-tls1_1']) {
  test(`openssl s_client ${version} gets the alert protocol_version`, async () => {
    const output = await sClient([version, '-cipher', 'ALL:@SECLEVEL=0']);
    assert.match(output, /alert protocol version/i);
    assert.match(output, /Cipher is \(NONE\)/);
  });
}

const refusedSuites = {
  'CBC with SHA-1': 'ECDHE-ECDSA-AES128-SHA',
  'CBC with SHA-256': 'ECDHE-ECDSA-AES128-SHA256',
  'CCM with a short tag': 'ECDHE-ECDSA-AES128-CCM8',
  'finite-field key exchange': 'DHE-RSA-AES128-GCM-SHA256',
  'RSA key transport': 'AES128-GCM-SHA256',
};

for (const [what, suite] of Object.entries(refusedSuites)) {
  test(`${what} gets the alert handshake_failure`, async () => {
    const output = await sClient(['-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`]);
    assert.match(output, /alert handshake failure/i);
    assert.match(output, /Cipher is \(NONE\)/);
  });
}

test('a curve that is not on the list gets the alert handshake_failure', async () => {
  const output = await sClient(['-tls1_2', '-curves', 'P-521']);
  assert.match(output, /alert handshake failure/i);
});

test('node:tls hears the same alerts', async () => {
  const ciphers = 'ALL:@SECLEVEL=0';
  await assert.rejects(
    RawMqtt.open({ port, identity: d1, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers }),
    { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' },
  );
  await assert.rejects(
    RawMqtt.open({
      port,
      identity: d1,
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-SHA256',
    }),
    /alert handshake failure/i,
  );
});

test('every suite of the profile that fits the certificate is welcome with TLS 1.2', async () => {
  for (const ciphers of [
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
  ]) {
    using client = await RawMqtt.open({ port, identity: d1, maxVersion: 'TLSv1.2', ciphers });
    assert.equal((await client.connect({ clientId: 'suite' })).code, 0);
    assert.equal(client.socket.getCipher().name, ciphers);
  }
});

test('renegotiation asked for by the client is refused', async () => {
  using client = await RawMqtt.open({ port, identity: d1, maxVersion: 'TLSv1.2' });
  assert.equal((await client.connect({ clientId: 'again' })).code, 0);
  const error = await new Promise<Error | null>((resolve) => {
    client.socket.renegotiate({}, resolve);
    void client.ended.then(({ error: reason }) => resolve(new Error(reason ?? 'closed')));
  });
  assert.match(String(error?.message), /no renegotiation|closed/i);
  // Whoever asked for it got no new handshake; others are served.
  using other = await RawMqtt.open({ port, identity: d1 });
  assert.equal((await other.connect({ clientId: 'other' })).code, 0);
});

test('no early data is offered with a ticket', async () => {
  // No MQTT: the gateway answers and closes, and s_client prints the tickets that came before.
  const output = await sClient(['-tls1_3'], 'GET / HTTP/1.0\n');
  assert.match(output, /Max Early Data: 0\b/);
  assert.doesNotMatch(output, /Max Early Data: [1-9]/);
});
