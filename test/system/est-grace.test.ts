/**
 * A certificate that has expired lets its device in nowhere; where the configuration gives grace, it still gets the next
 * one over EST, and for so long only. The certificate is one of the gateway's own root, put on record while it is down.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { clientExtensions, issueLeaf, makeRequest } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const run = promisify(execFile);
const dayMs = 86_400_000;
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const listener = 'est: { host: 127.0.0.1, port: 0 }';

/** As if the gateway had issued it itself. */
function record(dataDir: string, identity: Identity): void {
  const certificate = new X509Certificate(readFileSync(identity.crt));
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  const database = new DatabaseSync(join(dataDir, 'control', 'registry.db'));
  try {
    database
      .prepare(
        `INSERT INTO certificates
          (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at, issuer)
          VALUES ('internal', ?, ?, ?, ?, ?, ?, ?, '')`,
      )
      .run(
        certificate.serialNumber.toLowerCase().replace(/^0+/, ''),
        `device/${identity.id}`,
        createHash('sha256').update(spki).digest('hex'),
        certificate.validFromDate.getTime(),
        certificate.validToDate.getTime(),
        certificate.raw,
        certificate.validFromDate.getTime(),
      );
  } finally {
    database.close();
  }
}

/** A request for a new key, as a device would renew. @returns the status. */
async function renew(gateway: Gateway, { ca, crt, key, id }: Identity): Promise<number> {
  const { csr } = makeRequest(folder.at('requests'), `next-${Math.random()}`, `/CN=${id}`);
  const der = folder.at('next.b64');
  const { stdout: base64 } = await run('sh', [
    '-c',
    `openssl req -in ${csr} -outform DER | openssl base64 -A`,
  ]);
  writeFileSync(der, base64);
  const output = ['-sS', '--max-time', '20', '-o', folder.at('answer'), '-w', '%{http_code}'];
  const tls = ['--cacert', ca, '--cert', crt, '--key', key];
  const body = ['-H', 'Content-Type: application/pkcs10', '--data-binary', `@${der}`];
  const url = `https://localhost:${gateway.estPort}/.well-known/est/simplereenroll`;
  const { stdout } = await run('curl', [...output, ...tls, ...body, url]);
  return Number(stdout);
}

test('with grace an expired certificate is renewed, and opens nothing else', async () => {
  const first = await startGateway({ folder, listener });
  const known = await first.device('d1');
  const rootFile = folder.at('root.pem');
  await first.ok('ca', 'export-root', rootFile);
  await first.stop();
  const root = { crt: rootFile, key: rootFile };
  const endedBefore = (days: number, name: string): Identity => ({
    ...issueLeaf(root, folder.at('leaves'), name, known.ca, {
      subject: '/CN=d1',
      extensions: clientExtensions('spiffe://fleet.internal/device/d1'),
      notBefore: new Date(Date.now() - 40 * dayMs),
      notAfter: new Date(Date.now() - days * dayMs),
    }),
    id: 'd1',
  });
  const lately = endedBefore(2, 'lately');
  const longAgo = endedBefore(9, 'long-ago');
  for (const identity of [lately, longAgo]) record(first.dataDir, identity);

  const strict = await startGateway({ folder, listener });
  assert.equal(await renew(strict, lately), 401, 'without grace');
  await strict.stop();

  const config = 'enrolment: { graceDays: 7 }';
  await using kind = await startGateway({ folder, listener, config });
  assert.equal(await renew(kind, longAgo), 401, 'longer ago than grace lasts');
  assert.equal(await renew(kind, lately), 200);
  using client = await RawMqtt.open({ port: kind.mqttsPort, identity: lately });
  const { code } = await client.connect({ clientId: 'd1' });
  assert.equal(code, 0x86, 'no other listener lets it in');
});
