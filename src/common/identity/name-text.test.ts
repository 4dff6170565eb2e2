import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseCertificate } from './certificate.ts';
import { nameText } from './name-text.ts';

/** What OpenSSL makes of a subject, and what we do, of a certificate that OpenSSL has made. */
function texts(subject: string): { readonly ours: string; readonly openssl: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-name-'));
  try {
    const [key, crt] = [join(folder, 'k'), join(folder, 'c')];
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const named = ['-subj', subject, '-utf8', '-multivalue-rdn', '-keyout', key, '-out', crt];
    execFileSync('openssl', [...made, ...named], { stdio: 'ignore' });
    const shown = ['x509', '-in', crt, '-noout', '-subject', '-nameopt', 'RFC2253,sname'];
    const openssl = execFileSync('openssl', shown, { encoding: 'utf8' });
    const { subject: der } = parseCertificate(new X509Certificate(readFileSync(crt)).raw);
    return { ours: nameText(der), openssl: openssl.replace(/^subject=|\n$/g, '') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const [what, subject] of Object.entries({
  'one attribute': '/CN=d1',
  'several, the last first': '/C=DE/O=Example/OU=Meters/CN=d1',
  'characters with a meaning': '/O=A\\, B; <C> "D" \\+E\\\\F/CN=x',
  'spaces and a hash': '/O= begins and ends /OU=#hash/CN=d1',
  'other than ASCII': '/O=Zürich Zähler/CN=d1',
  'two attributes of one RDN': '/O=Example/CN=d1+OU=x',
})) {
  test(`a name is written as OpenSSL writes it: ${what}`, () => {
    const { ours, openssl } = texts(subject);
    assert.equal(ours, openssl);
    assert.match(ours, /^[\x20-\x7e]+$/);
  });
}

test('line ends and what is no text cannot leave their value', () => {
  // CN = UTF8String "a\r\nX: b", 1.2.3 = INTEGER 5
  const evil = Buffer.from('a\r\nX: b');
  const cn = Buffer.concat([
    Buffer.from('0603550403', 'hex'),
    Buffer.from([0x0c, evil.length]),
    evil,
  ]);
  const other = Buffer.from('06022a03020105', 'hex');
  const rdns = [cn, other].map((attribute) => {
    const sequence = Buffer.concat([Buffer.from([0x30, attribute.length]), attribute]);
    return Buffer.concat([Buffer.from([0x31, sequence.length]), sequence]);
  });
  const content = Buffer.concat(rdns);
  const der = Buffer.concat([Buffer.from([0x30, content.length]), content]);
  assert.equal(nameText(der), '1.2.3=#020105,CN=a\\0D\\0AX: b');
  assert.throws(() => nameText(der.subarray(0, -1)), { code: 'malformed' });
});
