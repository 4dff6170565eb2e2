import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { Issuer } from './hierarchy.ts';
import { softwareSigner } from './signer.ts';
import { TimeKey } from './time-key.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const dayMs = 86_400_000;

function authority(name: string): Issuer {
  const files = makeAuthority(folder.at(name), name);
  const pem = readFileSync(files.crt, 'utf8');
  const certificate = new X509Certificate(pem);
  const { subjectKeyId = '', notAfter } = parseCertificate(certificate.raw);
  const signer = softwareSigner(createPrivateKey(readFileSync(files.key)));
  return { id: subjectKeyId, certificate, pem, signer, notAfter };
}

const first = authority('first');
const second = authority('second');
const startedAt = Date.now();
let now = startedAt;
let issuer = first;
let key: TimeKey;

beforeEach(() => {
  now = startedAt;
  issuer = first;
  key = new TimeKey({ clock: { now: () => now, monotonic: () => now }, issuer: () => issuer });
});

function certificateOf({ credentials }: TimeKey): X509Certificate {
  assert.ok(credentials !== undefined);
  const certificate = new X509Certificate(Buffer.from(credentials.certificate, 'base64'));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(credentials.privateKey)));
  return certificate;
}

test('the key is certified for the time and nothing else, for a week', async () => {
  assert.equal(key.credentials, undefined);
  assert.equal(await key.renew(), true);
  const certificate = certificateOf(key);
  assert.ok(certificate.verify(first.certificate.publicKey));
  const facts = parseCertificate(certificate.raw);
  assert.deepEqual(facts.extendedKeyUsage, [oids.timeStamping]);
  assert.deepEqual([...(facts.keyUsage ?? [])], ['digitalSignature']);
  assert.equal(facts.isCa, false);
  assert.deepEqual([facts.sanUris, facts.sanDnsNames], [[], []]);
  assert.deepEqual(facts.unknownCriticalExtensions, []);
  assert.ok(facts.notAfter - now > 6 * dayMs && facts.notAfter - now <= 7 * dayMs);
  // RFC 3161 section 2.3: the extension is critical.
  const critical = Buffer.from('0603551d250101ff', 'hex');
  assert.ok(certificate.raw.includes(critical));
});

test('it is made anew half through its life, under another CA, and when the clock has gone back', async () => {
  await key.renew();
  const before = key.credentials;
  now += 3 * dayMs;
  assert.equal(await key.renew(), false);
  assert.equal(key.credentials, before);
  now += dayMs;
  assert.equal(await key.renew(), true);
  assert.notEqual(key.credentials?.privateKey, before?.privateKey);
  issuer = second;
  assert.equal(await key.renew(), true);
  assert.ok(certificateOf(key).verify(second.certificate.publicKey));
  now -= 2 * dayMs;
  assert.equal(await key.renew(), true);
  assert.equal(await key.renew(), false);
});

test('it does not outlive its CA', async () => {
  now = first.notAfter - dayMs;
  await key.renew();
  assert.equal(parseCertificate(certificateOf(key).raw).notAfter, first.notAfter);
});

test('when the CA cannot sign, the last key stays', async () => {
  await key.renew();
  const before = key.credentials;
  now += 5 * dayMs;
  issuer = {
    ...first,
    signer: {
      ...first.signer,
      sign: async () => {
        throw new SallyportError('unavailable', 'the token does not answer');
      },
    },
  };
  await assert.rejects(key.renew(), { code: 'unavailable' });
  assert.equal(key.credentials, before);
});
