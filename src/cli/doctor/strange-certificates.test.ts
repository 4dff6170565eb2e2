/** Certificates that OpenSSL and Node have a way of their own with: they become findings, and no crash. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { clientFindings, readCredentials } from './credentials.ts';
import { serverFindings } from './server-certificate.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

/** Under `by`, or by itself. */
function certificate(name: string, kind: string, subject: string, by?: string): string {
  const [key, csr, crt] = [`${name}.key`, `${name}.csr`, `${name}.crt`].map((file) =>
    folder.at(file),
  ) as [string, string, string]; // as many as went in
  const openssl = (...args: readonly string[]): unknown =>
    execFileSync('openssl', args, { stdio: 'pipe' });
  openssl('req', '-new', '-newkey', kind, '-nodes', '-keyout', key, '-subj', subject, '-out', csr);
  const extensions = folder.at(`${name}.ext`);
  writeFileSync(extensions, 'subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth,serverAuth');
  const signer =
    by === undefined
      ? ['-signkey', key]
      : ['-CA', folder.at(`${by}.crt`), '-CAkey', folder.at(`${by}.key`)];
  openssl(
    'x509',
    '-req',
    '-days',
    '90',
    '-in',
    csr,
    ...signer,
    '-extfile',
    extensions,
    '-out',
    crt,
  );
  return crt;
}

test('a client certificate that OpenSSL refuses to use is a fault', () => {
  const cert = certificate('weak', 'rsa:1024', '/CN=d1');
  const key = folder.at('weak.key');
  const credentials = readCredentials({ cert, key, ca: undefined });
  const faults = clientFindings(credentials, Date.now()).filter((one) => one.severity === 'fault');
  assert.deepEqual(
    faults.map(({ code }) => code),
    ['client-weak'],
  );
  assert.match(faults[0]?.says ?? '', /ee key too small/);
});

test('an issuer without a name is a finding like any other', () => {
  const [nameless, other] = [
    certificate('nameless', 'rsa:2048', '/'),
    certificate('other', 'rsa:2048', '/CN=other'),
  ];
  const leaf = certificate('leaf', 'rsa:2048', '/CN=localhost', 'nameless');
  const [first, ...rest] = [leaf, nameless, other].map(
    (file) => new X509Certificate(readFileSync(file)),
  );
  assert.ok(first !== undefined);
  const chains: readonly (readonly X509Certificate[])[] = [[first], [first, ...rest.slice(0, 1)]];
  for (const chain of chains) {
    // Close to their end, so that each of them is spoken of.
    const now = Date.now() + 89 * 86_400_000;
    const found = serverFindings({ name: 'localhost', chain, roots: rest.slice(1) }, now);
    assert.ok(found.some(({ severity }) => severity === 'fault'));
  }
});
