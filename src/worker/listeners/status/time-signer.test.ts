import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { createHash, createPublicKey, verify, X509Certificate } from 'node:crypto';
import { issueLeaf, makeAuthority } from '../../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { isNonce, TimeSigner } from './time-signer.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const dayMs = 86_400_000;
const notBefore = new Date('2026-11-01T00:00:00Z');
const notAfter = new Date('2026-11-08T00:00:00Z');
const leaf = issueLeaf(authority, folder.at('time'), 'time', '', {
  subject: '/CN=time',
  extensions: ['extendedKeyUsage=critical,timeStamping'],
  notBefore,
  notAfter,
});
const pem = readFileSync(leaf.crt, 'utf8');
const certificate = new X509Certificate(pem);
const nonce = 'x'.repeat(22);

let now = notBefore.getTime() + dayMs + 678;

function signer(): TimeSigner {
  const one = new TimeSigner({ now: () => now, monotonic: () => now });
  one.update({
    certificate: certificate.raw.toString('base64'),
    privateKey: readFileSync(leaf.key, 'utf8'),
  });
  return one;
}

const key = { key: createPublicKey(pem), dsaEncoding: 'ieee-p1363' } as const;

/** RFC 7515 section 5.2, with nothing of ours. */
function holds(head: string, payload: string, signature: string): boolean {
  const signed = Buffer.from(`${head}.${payload}`, 'latin1');
  return verify('sha256', signed, key, Buffer.from(signature, 'base64url'));
}

function parts(jws: string | undefined): [head: string, payload: string, signature: string] {
  const [head = '', payload = '', signature = '', ...more] = (jws ?? '').split('.');
  assert.deepEqual(more, []);
  return [head, payload, signature];
}

function decoded(part: string): string {
  return Buffer.from(part, 'base64url').toString('latin1');
}

test('the time is a compact JWS over the nonce and the second', () => {
  const [head, payload, signature] = parts(signer().sign(nonce));
  const thumbprint = createHash('sha256').update(certificate.raw).digest('base64url');
  assert.deepEqual(JSON.parse(decoded(head)), {
    alg: 'ES256',
    typ: 'time+jws',
    'x5t#S256': thumbprint,
  });
  assert.equal(decoded(payload), `{"nonce":"${nonce}","time":1793577600}`);
  assert.equal(holds(head, payload, signature), true);
});

test('it is small, with the longest nonce too', () => {
  const one = signer();
  assert.ok((one.sign(nonce) ?? '').length < 300);
  assert.ok((one.sign('y'.repeat(64)) ?? '').length < 400);
});

test('with another second it is no longer signed', () => {
  const [head, payload, signature] = parts(signer().sign(nonce));
  const other = decoded(payload).replace('1793577600', '1793577601');
  assert.notEqual(other, decoded(payload));
  assert.equal(holds(head, Buffer.from(other).toString('base64url'), signature), false);
});

test('nothing is signed outside the life of its certificate, or without one', () => {
  const one = signer();
  for (const at of [notBefore.getTime() - 1, notAfter.getTime() + 1]) {
    now = at;
    assert.equal(one.sign(nonce), undefined);
  }
  now = notBefore.getTime();
  assert.notEqual(one.sign(nonce), undefined);
  one.update(undefined);
  assert.equal(one.sign(nonce), undefined);
  assert.equal(one.certificate, undefined);
});

test('a nonce is 22 to 64 characters that JSON and URLs leave alone', () => {
  for (const text of [nonce, 'z'.repeat(64), 'AZaz09_-AZaz09_-AZaz09']) assert.ok(isNonce(text));
  for (const text of ['', 'x'.repeat(21), 'x'.repeat(65), `${nonce}"`, `${nonce}%`, `${nonce}\n`])
    assert.equal(isNonce(text), false, text);
});
