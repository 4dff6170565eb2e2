/**
 * Certificate signing requests for `device/d1` of `fleet.example`: some that are good, and every way of getting more than
 * one's own name with one's own sound key that is known here. Made by openssl where it lends itself, by hand where not.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  checkPrimeSync,
  createECDH,
  createPrivateKey,
  createPublicKey,
  generatePrimeSync,
  randomBytes,
  sign,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { after } from 'node:test';
import { oids } from '../../src/common/codec/der/oids.ts';
import { decodePem } from '../../src/common/codec/der/pem.ts';
import { DerReader } from '../../src/common/codec/der/reader.ts';
import * as write from '../../src/common/codec/der/writer.ts';
import { temporaryFolder } from './temporary-folder.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const rsaEncryption = '1.2.840.113549.1.1.1';
export const ownSan = 'subjectAltName=URI:spiffe://fleet.example/device/d1';

const openssl = (...args: readonly string[]): Buffer =>
  execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

const keyKinds = {
  p256: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  p384: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  p521: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  p192: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-192'],
  secp256k1: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  explicit: [
    '-algorithm',
    'EC',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-pkeyopt',
    'ec_param_enc:explicit',
  ],
  ed25519: ['-algorithm', 'ED25519'],
  ed448: ['-algorithm', 'ED448'],
  rsa1024: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
  rsa2048: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  rsa3: [
    '-algorithm',
    'RSA',
    '-pkeyopt',
    'rsa_keygen_bits:2048',
    '-pkeyopt',
    'rsa_keygen_pubexp:3',
  ],
  rsaPss: ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'],
} as const;
type KeyKind = keyof typeof keyKinds;

export function keyFile(kind: KeyKind): string {
  const file = folder.at(`${kind}.key`);
  if (!existsSync(file)) openssl('genpkey', ...keyKinds[kind], '-out', file);
  return file;
}

/** A request by openssl, in PEM. */
function csr(kind: KeyKind, subject: string, ...more: readonly string[]): Buffer {
  return openssl('req', '-new', '-utf8', '-key', keyFile(kind), '-subj', subject, ...more);
}

export const withExtensions = (...extensions: readonly string[]): Buffer =>
  csr('p256', '/CN=d1', ...extensions.flatMap((each) => ['-addext', each]));

export const derOf = (pem: Buffer): Buffer => decodePem('CERTIFICATE REQUEST', pem.toString())[0]!;

const name = (...commonNames: readonly Buffer[]): Buffer =>
  write.sequence(
    ...commonNames.map((cn) => write.setOf(write.sequence(write.oid(oids.commonName), cn))),
  );
const extensionRequest = (...extensions: readonly Buffer[]): Buffer =>
  write.sequence(write.oid(oids.extensionRequest), write.setOf(write.sequence(...extensions)));
const extension = (oid: string, value: Buffer): Buffer =>
  write.sequence(write.oid(oid), write.octetString(value));

/** What openssl would not write, signed all the same. */
function handmade(parts: {
  readonly subject?: Buffer;
  readonly attributes?: readonly Buffer[];
  readonly privateKeyPem?: string;
  readonly version?: number;
}): Buffer {
  const key = createPrivateKey(parts.privateKeyPem ?? readFileSync(keyFile('p256')));
  const isRsa = key.asymmetricKeyType === 'rsa';
  const info = write.sequence(
    write.unsignedInteger(parts.version ?? 0),
    parts.subject ?? name(write.utf8String('d1')),
    spkiOf(key),
    ...(parts.attributes === undefined ? [] : [write.element(0xa0, ...parts.attributes)]),
  );
  const algorithm = isRsa
    ? write.sequence(write.oid(oids.sha256WithRsa), write.nullValue())
    : write.sequence(write.oid(oids.ecdsaWithSha256));
  return write.sequence(info, algorithm, write.bitString(sign('sha256', info, key)));
}

const spkiOf = (key: KeyObject): Buffer =>
  createPublicKey(key).export({ type: 'spki', format: 'der' });

/** A key as the broken library made them: both primes are k·M + (65537^a mod M). */
function rocaKey(): string {
  const primes: bigint[] = [];
  for (let n = 2n; primes.length < 126; n++) if (primes.every((p) => n % p !== 0n)) primes.push(n);
  const m = primes.reduce((product, prime) => product * prime, 1n);
  const prime = (): bigint => {
    for (;;) {
      const residue = power(65_537n, randomNumber(8), m);
      // Fills 1,024 bits with the top two set, so that the modulus has 2,048.
      const least = (3n << 1022n) / m + 1n;
      const candidate = (least + (randomNumber(7) % ((1n << 1022n) / m - 1n))) * m + residue;
      if (checkPrimeSync(candidate) && hasExponent(candidate)) return candidate;
    }
  };
  return rsaKey(prime(), prime());
}

/** Both primes from one start, as printers made them (CVE-2022-26320). */
function fermatKey(): string {
  const p = newPrime();
  let q = p + 2n;
  while (!checkPrimeSync(q) || !hasExponent(q)) q += 2n;
  return rsaKey(p, q);
}

/** What a bit that flips makes of a prime. */
function smallFactorKey(): string {
  const p = newPrime();
  for (let q = (3n << 1022n) / 1_009n; ; q += 1n) {
    if (checkPrimeSync(q)) return rsaKey(p, q * 1_009n, (p - 1n) * (q - 1n) * 1_008n);
  }
}

/** One prime in 65,537 leaves the public exponent without a private one. */
const hasExponent = (prime: bigint): boolean => (prime - 1n) % 65_537n !== 0n;

function newPrime(): bigint {
  for (;;) {
    const prime = generatePrimeSync(1024, { bigint: true });
    if (hasExponent(prime)) return prime;
  }
}

const randomNumber = (octets: number): bigint => BigInt(`0x${randomBytes(octets).toString('hex')}`);

/** PKCS#8 PEM. */
function rsaKey(p: bigint, q: bigint, phi = (p - 1n) * (q - 1n)): string {
  const e = 65_537n;
  const d = inverse(e, phi);
  const b64 = (value: bigint): string => {
    const digits = value.toString(16);
    return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex').toString(
      'base64url',
    );
  };
  const jwk = {
    kty: 'RSA',
    n: b64(p * q),
    e: b64(e),
    d: b64(d),
    p: b64(p),
    q: b64(q),
    dp: b64(d % (p - 1n)),
    dq: b64(d % (q - 1n)),
    qi: b64(inverse(q, p)),
  };
  return createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' });
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [r, nextR, t, nextT] = [modulus, value % modulus, 0n, 1n];
  while (nextR !== 0n) {
    const quotient = r / nextR;
    [r, nextR] = [nextR, r - quotient * nextR];
    [t, nextT] = [nextT, t - quotient * nextT];
  }
  return t < 0n ? t + modulus : t;
}

export const acceptedRequests: Readonly<Record<string, () => Buffer>> = {
  'P-256': () => csr('p256', '/CN=d1'),
  'P-384 with SHA-384': () => csr('p384', '/CN=d1', '-sha384'),
  Ed25519: () => csr('ed25519', '/CN=d1'),
  'RSA-2048': () => csr('rsa2048', '/CN=d1'),
  'RSA-2048 with SHA-512': () => csr('rsa2048', '/CN=d1', '-sha512'),
  DER: () => csr('p256', '/CN=d1', '-outform', 'DER'),
  'the old PEM label': () =>
    Buffer.from(
      csr('p256', '/CN=d1').toString().replaceAll('CERTIFICATE REQ', 'NEW CERTIFICATE REQ'),
    ),
  'no CN': () => csr('p256', '/O=Example'),
  'an empty subject': () => csr('p256', '/'),
  'a subject with more than a CN': () => csr('p256', '/C=DE/O=Example/CN=d1'),
  'its own SPIFFE id': () => withExtensions(ownSan),
  'clientAuth and digitalSignature': () =>
    withExtensions(ownSan, 'extendedKeyUsage=clientAuth', 'keyUsage=critical,digitalSignature'),
  'CA:FALSE': () => withExtensions('basicConstraints=critical,CA:FALSE'),
  'a challenge password': () => handmade({ attributes: [attribute(oids.challengePassword)] }),
  'no attributes at all': () => handmade({}),
};

function attribute(oid: string): Buffer {
  return write.sequence(write.oid(oid), write.setOf(write.utf8String('x')));
}

const lookalike = '/CN=d\u0456';
/** What is wrong, the request, and what the message must speak of. */
export const refusedRequests: readonly (readonly [string, () => Buffer | string, RegExp])[] = [
  ['someone else’s CN', () => csr('p256', '/CN=d2'), /CN is "d2"/],
  ['two CNs', () => csr('p256', '/CN=d1/CN=d2'), /2 CNs/],
  ['the right CN twice', () => csr('p256', '/CN=d1/CN=d1'), /2 CNs/],
  ['two CNs in one RDN', () => csr('p256', '/CN=d1+CN=d2'), /2 CNs/],
  ['a CN with other case', () => csr('p256', '/CN=D1'), /CN is "D1"/],
  ['a look-alike letter', () => csr('p256', lookalike), /CN is "d\\u\{456\}"/],
  ['a CN of +', () => csr('p256', '/CN=\\+'), /CN is "\+"/],
  ['a CN of #', () => csr('p256', '/CN=#'), /CN is "#"/],
  ['a CN with a separator', () => csr('p256', '/CN=d1\\/x'), /CN is "d1\/x"/],
  ['a CN of $share', () => csr('p256', '/CN=$share'), /\$share/],
  ['a CN of __proto__', () => csr('p256', '/CN=__proto__'), /__proto__/],
  ['a NUL in the CN', () => handmade({ subject: name(write.utf8String('d1\0')) }), /CN is/],
  ['a newline in the CN', () => handmade({ subject: name(write.utf8String('d1\n')) }), /CN is/],
  ['an empty CN', () => handmade({ subject: name(write.utf8String('')) }), /CN is ""/],
  [
    'a CN of 65,535 bytes',
    () => handmade({ subject: name(write.utf8String('x'.repeat(65_000))) }),
    /CN is|64 KiB/,
  ],
  [
    'a CN that is not UTF-8',
    () => handmade({ subject: name(write.element(0x0c, Buffer.of(0xff))) }),
    /cannot be read/,
  ],
  [
    'a second CN as a BMPString',
    () =>
      handmade({
        subject: name(write.utf8String('d1'), write.element(0x1e, Buffer.from('00640032', 'hex'))),
      }),
    /2 CNs/,
  ],
  [
    'someone else’s SPIFFE id',
    () => withExtensions('subjectAltName=URI:spiffe://fleet.example/device/d2'),
    /subjectAltName/,
  ],
  [
    'another kind',
    () => withExtensions('subjectAltName=URI:spiffe://fleet.example/service/d1'),
    /subjectAltName/,
  ],
  [
    'another trust domain',
    () => withExtensions('subjectAltName=URI:spiffe://other.example/device/d1'),
    /subjectAltName/,
  ],
  ['a DNS name', () => withExtensions(`${ownSan},DNS:gateway.fleet.example`), /subjectAltName/],
  ['a wildcard', () => withExtensions('subjectAltName=DNS:*.fleet.example'), /subjectAltName/],
  ['an IP address', () => withExtensions(`${ownSan},IP:127.0.0.1`), /subjectAltName/],
  ['a mail address', () => withExtensions(`${ownSan},email:a@b.example`), /subjectAltName/],
  [
    '200 names',
    () =>
      withExtensions(
        `subjectAltName=${Array.from({ length: 200 }, (_, n) => `DNS:h${n}.example`).join(',')}`,
      ),
    /subjectAltName/,
  ],
  [
    'its own name twice',
    () => withExtensions(`${ownSan},URI:spiffe://fleet.example/device/d1`),
    /subjectAltName/,
  ],
  ['CA:TRUE', () => withExtensions('basicConstraints=critical,CA:TRUE'), /CA:TRUE/],
  [
    'a path length',
    () =>
      handmade({
        attributes: [
          extensionRequest(
            extension(oids.basicConstraints, write.sequence(write.unsignedInteger(0))),
          ),
        ],
      }),
    /CA:TRUE/,
  ],
  ['keyCertSign', () => withExtensions('keyUsage=digitalSignature,keyCertSign'), /keyCertSign/],
  [
    'keyEncipherment',
    () => withExtensions('keyUsage=digitalSignature,keyEncipherment'),
    /keyEncipherment/,
  ],
  [
    'serverAuth',
    () => withExtensions('extendedKeyUsage=clientAuth,serverAuth'),
    /extendedKeyUsage/,
  ],
  ['any purpose', () => withExtensions('extendedKeyUsage=anyExtendedKeyUsage'), /extendedKeyUsage/],
  ['an unknown extension', () => withExtensions('1.2.3.4=DER:0500'), /1\.2\.3\.4/],
  ['a policy', () => withExtensions('certificatePolicies=1.2.3.4'), /2\.5\.29\.32/],
  [
    'an extension twice',
    () =>
      handmade({
        attributes: [
          extensionRequest(
            extension(oids.basicConstraints, write.sequence()),
            extension(oids.basicConstraints, write.sequence(write.boolean(true))),
          ),
        ],
      }),
    /twice/,
  ],
  [
    'two extension requests',
    () =>
      handmade({
        attributes: [
          extensionRequest(),
          extensionRequest(extension(oids.basicConstraints, write.sequence(write.boolean(true)))),
        ],
      }),
    /twice/,
  ],
  [
    'a key usage that is none',
    () => handmade({ attributes: [extensionRequest(extension(oids.keyUsage, write.nullValue()))] }),
    /cannot be read/,
  ],
  [
    'an attribute of Microsoft',
    () => handmade({ attributes: [attribute('1.3.6.1.4.1.311.2.1.14')] }),
    /1\.3\.6\.1\.4\.1\.311/,
  ],
  [
    'too many attributes',
    () => handmade({ attributes: Array.from({ length: 17 }, (_, n) => attribute(`1.2.${n}`)) }),
    /attributes/,
  ],
  ['version 2', () => handmade({ version: 1 }), /version/],
  ['RSA-1024', () => csr('rsa1024', '/CN=d1'), /1024 bits/],
  ['exponent 3', () => csr('rsa3', '/CN=d1'), /exponent/],
  ['exponent 1', () => exponentOne(), /exponent/],
  ['RSA-PSS', () => csr('rsaPss', '/CN=d1'), /not accepted/],
  ['ROCA', () => handmade({ privateKeyPem: rocaKey() }), /ROCA/],
  ['two primes next to each other', () => handmade({ privateKeyPem: fermatKey() }), /too close/],
  [
    'a modulus with a small factor',
    () => handmade({ privateKeyPem: smallFactorKey() }),
    /divisible by/,
  ],
  ['the P-256 test key of RFC 9500', () => handmade({ privateKeyPem: rfc9500 }), /everybody has/],
  [
    'the P-256 key whose private number is 1',
    () => handmade({ privateKeyPem: numberOne() }),
    /everybody has/,
  ],
  ['the Ed25519 key of 32 zeros', () => ed25519(zeros()), /next to nothing/],
  ['the example key of RFC 8410', () => ed25519(rfc8410), /everybody has/],
  ['P-192', () => csr('p192', '/CN=d1'), /prime192v1/],
  ['P-521', () => csr('p521', '/CN=d1'), /secp521r1/],
  ['secp256k1', () => csr('secp256k1', '/CN=d1'), /secp256k1/],
  ['a curve spelled out', () => csr('explicit', '/CN=d1'), /unusual form/],
  ['a compressed point', () => compressed(), /unusual form/],
  ['RSA without the NULL', () => withoutNull(), /unusual form/],
  ['Ed448', () => csr('ed448', '/CN=d1'), /not accepted/],
  ['SHA-1 with RSA', () => csr('rsa2048', '/CN=d1', '-sha1'), /signed with/],
  ['SHA-1 with EC', () => csr('p256', '/CN=d1', '-sha1'), /signed with/],
  ['MD5', () => csr('rsa2048', '/CN=d1', '-md5'), /signed with/],
  [
    'a signature that was changed',
    () => flipped(derOf(csr('p256', '/CN=d1')), -1),
    /does not verify/,
  ],
  ['another key than the one that signed', () => swapped(), /does not verify/],
  ['an algorithm of another key type', () => wrongAlgorithm(), /do not fit|does not verify/],
  ['1 MB', () => Buffer.alloc(1024 * 1024, 0x30), /64 KiB/],
  [
    '1 MB of PEM',
    () => `-----BEGIN CERTIFICATE REQUEST-----\n${'A'.repeat(1024 * 1024)}`,
    /64 KiB/,
  ],
  ['nothing', () => '', /no certificate signing request/],
  [
    'a certificate',
    () => openssl('req', '-x509', '-key', keyFile('p256'), '-subj', '/CN=d1'),
    /no certificate signing request/,
  ],
  ['a private key', () => readFileSync(keyFile('p256')), /no certificate signing request/],
  [
    'two requests',
    () => Buffer.concat([csr('p256', '/CN=d1'), csr('p256', '/CN=d1')]),
    /more than one/,
  ],
  [
    'something behind the request',
    () => Buffer.concat([derOf(csr('p256', '/CN=d1')), Buffer.of(0)]),
    /cannot be read/,
  ],
];

/** Section 2.3 of RFC 9500, and section 10.3 of RFC 8410. */
export const rfc9500 = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5stb3YCqRa6clejB
VHZnn/7JU8FoUecR50OTlYnGT8GhRANCAARCJUj4j7eC/7Xso3REUscqHlWPvW9z
vl5I6TIyzEXFsWxM0QxMuNW4oXE56UiCyJklcpk0JfQUGat+kKQqSUJy
-----END PRIVATE KEY-----
`;
const rfc8410 = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
`;

function numberOne(): string {
  const number = Buffer.alloc(32);
  number[31] = 1;
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(number);
  const point = curve.getPublicKey();
  const [x = '', y = ''] = [point.subarray(1, 33), point.subarray(33)].map((half) =>
    half.toString('base64url'),
  );
  const key = { kty: 'EC', crv: 'P-256', d: number.toString('base64url'), x, y };
  return createPrivateKey({ key, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' });
}

function zeros(): string {
  const head = Buffer.from('302e020100300506032b657004220420', 'hex');
  const key = Buffer.concat([head, Buffer.alloc(32)]);
  const made = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  return made.export({ type: 'pkcs8', format: 'pem' });
}

function ed25519(privateKeyPem: string): Buffer {
  const key = createPrivateKey(privateKeyPem);
  const info = write.sequence(write.unsignedInteger(0), name(write.utf8String('d1')), spkiOf(key));
  const algorithm = write.sequence(write.oid(oids.ed25519));
  return write.sequence(info, algorithm, write.bitString(sign(null, info, key)));
}

function flipped(der: Buffer, at: number): Buffer {
  const copy = Buffer.from(der);
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}

/** A request whose key was replaced by another device's, whose signature nobody has. */
function swapped(): Buffer {
  const mine = derOf(csr('p256', '/CN=d1'));
  openssl('genpkey', ...keyKinds.p256, '-out', folder.at('theirs.key'));
  const publicKeyOf = (file: string): Buffer => spkiOf(createPrivateKey(readFileSync(file)));
  const own = publicKeyOf(keyFile('p256'));
  const at = mine.indexOf(own);
  assert.ok(at > 0);
  publicKeyOf(folder.at('theirs.key')).copy(mine, at);
  return mine;
}

function wrongAlgorithm(): Buffer {
  const key = createPrivateKey(readFileSync(keyFile('ed25519')));
  const info = write.sequence(write.unsignedInteger(0), name(write.utf8String('d1')), spkiOf(key));
  const algorithm = write.sequence(write.oid(oids.ecdsaWithSha256));
  return write.sequence(info, algorithm, write.bitString(sign(null, info, key)));
}

/** The same key again, in the other encoding of its point. */
function compressed(): Buffer {
  const file = folder.at('compressed.key');
  openssl('ec', '-in', keyFile('p256'), '-conv_form', 'compressed', '-out', file);
  return openssl('req', '-new', '-key', file, '-subj', '/CN=d1');
}

function withoutNull(): Buffer {
  const key = createPrivateKey(readFileSync(keyFile('rsa2048')));
  const usual = spkiOf(key);
  const { bytes } = bitStringOf(usual);
  const spki = write.sequence(write.sequence(write.oid(rsaEncryption)), write.bitString(bytes));
  const info = write.sequence(write.unsignedInteger(0), name(write.utf8String('d1')), spki);
  const algorithm = write.sequence(write.oid(oids.sha256WithRsa), write.nullValue());
  return write.sequence(info, algorithm, write.bitString(sign('sha256', info, key)));
}

function bitStringOf(spki: Buffer): { bytes: Buffer } {
  const reader = new DerReader(spki).sequence();
  reader.element();
  return reader.bitString();
}

/** RSA with exponent 1: every signature is its own message. */
function exponentOne(): Buffer {
  const { n = '' } = createPrivateKey(readFileSync(keyFile('rsa2048'))).export({ format: 'jwk' });
  const publicKey = write.sequence(
    write.unsignedInteger(Buffer.from(n, 'base64url')),
    write.unsignedInteger(1),
  );
  const spki = write.sequence(
    write.sequence(write.oid(rsaEncryption), write.nullValue()),
    write.bitString(publicKey),
  );
  const info = write.sequence(write.unsignedInteger(0), name(write.utf8String('d1')), spki);
  const algorithm = write.sequence(write.oid(oids.sha256WithRsa), write.nullValue());
  return write.sequence(info, algorithm, write.bitString(Buffer.alloc(256, 1)));
}
