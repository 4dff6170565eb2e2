import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { fc } from '../base/property-test-support.ts';
import { issueLeaf, makeAuthority, rewriteSigned } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../base/errors.ts';
import { oids } from '../codec/der/oids.ts';
import * as write from '../codec/der/writer.ts';
import { parseCertificate } from './certificate.ts';
import type { CertificateFacts } from './certificate.ts';
import { principalOfCertificate } from './principal-of-certificate.ts';
import type { AnchorMapping } from '../ipc/snapshot.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const clientAuth = ['basicConstraints=critical,CA:FALSE', 'extendedKeyUsage=clientAuth'];
let made = 0;

/** A certificate of the test CA. */
function leaf(subject: string, extensions: readonly string[]): Buffer {
  const options = { subject, extensions };
  const { crt } = issueLeaf(authority, folder.at('leaves'), `leaf${++made}`, '', options);
  return derOf(crt);
}

function derOf(crt: string): Buffer {
  return new X509Certificate(readFileSync(crt)).raw;
}

const isInvalid = (thrown: unknown): boolean =>
  thrown instanceof SallyportError && thrown.code === 'invalid-certificate';

test('every fact agrees with what openssl says', () => {
  const der = leaf('/O=Example/CN=d1/serialNumber=SN-7', [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature,keyAgreement',
    'extendedKeyUsage=clientAuth,serverAuth',
    'subjectAltName=URI:spiffe://fleet.example/device/d1,DNS:d1.example,IP:192.0.2.1,IP:2001:db8::1',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
    '1.2.3.4=critical,DER:0500',
  ]);
  const facts = parseCertificate(der);
  const peer = new X509Certificate(der);
  assert.equal(facts.serialHex, peer.serialNumber.toLowerCase().replace(/^0+/, ''));
  assert.equal(facts.notBefore, peer.validFromDate.getTime());
  assert.equal(facts.notAfter, peer.validToDate.getTime());
  const spki = peer.publicKey.export({ type: 'spki', format: 'der' });
  assert.equal(facts.spkiSha256, createHash('sha256').update(spki).digest('hex'));
  assert.deepEqual(facts.commonNames, ['d1']);
  assert.deepEqual(facts.subjectSerialNumbers, ['SN-7']);
  assert.deepEqual(facts.sanUris, ['spiffe://fleet.example/device/d1']);
  assert.deepEqual(facts.sanDnsNames, ['d1.example']);
  assert.deepEqual(facts.sanIpAddresses, ['c0000201', '20010db8000000000000000000000001']);
  assert.equal(facts.isCa, false);
  assert.deepEqual([...(facts.keyUsage ?? [])], ['digitalSignature', 'keyAgreement']);
  assert.deepEqual(facts.extendedKeyUsage, [oids.clientAuth, oids.serverAuth]);
  assert.deepEqual(facts.unknownCriticalExtensions, ['1.2.3.4']);
  const issuer = parseCertificate(derOf(authority.crt));
  assert.deepEqual(facts.issuer, issuer.subject);
  assert.equal(facts.authorityKeyId, issuer.subjectKeyId);
  assert.equal(issuer.isCa, true);
  const printed = execFileSync(
    'openssl',
    ['x509', '-inform', 'DER', '-noout', '-ext', 'subjectKeyIdentifier'],
    { input: der, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] },
  );
  assert.ok(printed.includes(facts.subjectKeyId?.toUpperCase().match(/../g)?.join(':') ?? '-'));
});

test('a NUL and a newline in the CN are read, not cut', () => {
  for (const [from, to] of [
    ['d1Xevil', 'd1\0evil'],
    ['d1Yevil', 'd1\nevil'],
  ] as const) {
    const identity = issueLeaf(authority, folder.at('nul'), `nul${++made}`, '', {
      subject: `/CN=${from}`,
    });
    const { crt } = rewriteSigned(authority, identity, from, to);
    assert.deepEqual(parseCertificate(derOf(crt)).commonNames, [to]);
  }
});

test('a certificate that is cut or followed by anything is refused', () => {
  const der = leaf('/CN=d1', clientAuth);
  for (let length = 0; length < der.length; length++) {
    assert.throws(() => parseCertificate(der.subarray(0, length)), isInvalid, `${length} bytes`);
  }
  assert.throws(() => parseCertificate(Buffer.concat([der, Buffer.of(0)])), isInvalid);
  assert.throws(() => parseCertificate(Buffer.alloc(64 * 1024 + 1)), isInvalid);
});

test('whatever byte is changed, the parser returns or says invalid-certificate', () => {
  const der = leaf('/CN=d1', [
    ...clientAuth,
    'subjectAltName=URI:spiffe://fleet.example/device/d1',
  ]);
  fc.assert(
    fc.property(
      fc.nat(der.length - 1),
      fc.nat(255),
      fc.nat(der.length - 1),
      (at, octet, second) => {
        const changed = Buffer.from(der);
        changed[at] = octet;
        changed[second] = octet ^ 0x80;
        try {
          parseCertificate(changed);
        } catch (thrown) {
          assert.ok(isInvalid(thrown), String(thrown));
        }
      },
    ),
    { numRuns: 2000 },
  );
});

/** A certificate without a signature that means anything: for what openssl would not write. */
function handmade(parts: {
  readonly version?: number;
  readonly serial?: string;
  readonly extensions?: readonly Buffer[];
  readonly innerAlgorithm?: string;
}): Buffer {
  const name = write.sequence(
    write.setOf(write.sequence(write.oid(oids.commonName), write.utf8String('d1'))),
  );
  const algorithm = write.sequence(write.oid(oids.ed25519));
  const version = parts.version ?? 3;
  return write.sequence(
    write.sequence(
      ...(version === 1 ? [] : [write.explicit(0, write.unsignedInteger(version - 1))]),
      write.element(0x02, Buffer.from(parts.serial ?? '01', 'hex')),
      write.sequence(write.oid(parts.innerAlgorithm ?? oids.ed25519)),
      name,
      write.sequence(write.time(0), write.time(1000)),
      name,
      write.sequence(algorithm, write.bitString(Buffer.alloc(32))),
      ...(parts.extensions === undefined
        ? []
        : [write.explicit(3, write.sequence(...parts.extensions))]),
    ),
    algorithm,
    write.bitString(Buffer.alloc(64)),
  );
}

const extension = (oid: string, ...rest: readonly Buffer[]): Buffer =>
  write.sequence(write.oid(oid), ...rest);
const notCa = extension(oids.basicConstraints, write.octetString(write.sequence()));
const isACa = extension(
  oids.basicConstraints,
  write.octetString(write.sequence(write.boolean(true))),
);

test('serial numbers are hex without leading zeros', () => {
  assert.equal(parseCertificate(handmade({ serial: '00f1' })).serialHex, 'f1');
  assert.equal(parseCertificate(handmade({ serial: '0a' })).serialHex, 'a');
  assert.equal(parseCertificate(handmade({ serial: `00${'ff'.repeat(20)}` })).serialHex.length, 40);
});

const malformedCertificates: Readonly<Record<string, Buffer>> = {
  'an extension twice': handmade({ extensions: [notCa, isACa] }),
  'a negative serial number': handmade({ serial: '81' }),
  'serial number zero': handmade({ serial: '00' }),
  'a serial number of 21 octets': handmade({ serial: '01'.repeat(21) }),
  'version 4': handmade({ version: 4 }),
  'extensions in version 1': handmade({ version: 1, extensions: [notCa] }),
  'two signature algorithms': handmade({ innerAlgorithm: oids.ecdsaWithSha256 }),
  'key usage that is no bit string': handmade({
    extensions: [extension(oids.keyUsage, write.octetString(write.nullValue()))],
  }),
  'an extension of which something is left': handmade({
    extensions: [
      extension(
        oids.extendedKeyUsage,
        write.octetString(
          Buffer.concat([write.sequence(write.oid(oids.clientAuth)), Buffer.of(0)]),
        ),
      ),
    ],
  }),
  '65 extensions': handmade({
    extensions: Array.from({ length: 65 }, (_, n) =>
      extension(`1.2.3.${n}`, write.octetString(Buffer.alloc(0))),
    ),
  }),
};
for (const [what, der] of Object.entries(malformedCertificates)) {
  test(`refused: ${what}`, () => {
    assert.throws(() => parseCertificate(der), isInvalid);
  });
}

const internal = { name: 'internal', certificates: [], mapping: { type: 'spiffe' } } as const;
const now = Date.now();
const spiffeSan = (id: string): string => `subjectAltName=URI:spiffe://fleet.example/device/${id}`;

function mapped(
  facts: CertificateFacts,
  mapping: AnchorMapping = internal.mapping,
  at = now,
): string {
  const result = principalOfCertificate(facts, { ...internal, mapping }, 'fleet.example', at);
  return result.ok ? result.principal : result.reason;
}

test('certificates that openssl made: who they speak for', () => {
  const table: readonly (readonly [string, readonly string[], string])[] = [
    ['/CN=d1', [...clientAuth, spiffeSan('d1')], 'device/d1'],
    ['/O=x/OU=y/CN=d1', [...clientAuth, spiffeSan('d1')], 'device/d1'],
    ['/CN=d1/CN=d2', [...clientAuth, spiffeSan('d1')], 'ambiguous-identity'],
    ['/CN=d1+CN=d2', [...clientAuth, spiffeSan('d1')], 'ambiguous-identity'],
    ['/O=x', [...clientAuth, spiffeSan('d1')], 'no-identity'],
    ['/CN=d2', [...clientAuth, spiffeSan('d1')], 'name-mismatch'],
    ['/CN=d1', clientAuth, 'no-identity'],
    [
      '/CN=d1',
      [...clientAuth, `${spiffeSan('d1')},URI:spiffe://fleet.example/device/d2`],
      'ambiguous-identity',
    ],
    ['/CN=d1', [...clientAuth, 'subjectAltName=DNS:d1'], 'no-identity'],
    ['/CN=d1', [spiffeSan('d1'), 'extendedKeyUsage=serverAuth'], 'wrong-eku'],
    ['/CN=d1', [spiffeSan('d1'), 'extendedKeyUsage=anyExtendedKeyUsage'], 'wrong-eku'],
    ['/CN=d1', [spiffeSan('d1')], 'wrong-eku'],
    [
      '/CN=d1',
      [...clientAuth.slice(1), spiffeSan('d1'), 'basicConstraints=CA:TRUE'],
      'ca-certificate',
    ],
    ['/CN=d1', [...clientAuth, spiffeSan('d1'), 'keyUsage=keyEncipherment'], 'wrong-key-usage'],
    ['/CN=d1', [...clientAuth, spiffeSan('d1'), '1.2.3.4=critical,DER:0500'], 'critical-extension'],
  ];
  for (const [subject, extensions, expected] of table) {
    const facts = parseCertificate(leaf(subject, extensions));
    assert.equal(mapped(facts), expected, `${subject} ${extensions.join(' ')}`);
  }
});

const good: CertificateFacts = {
  ...parseCertificate(handmade({})),
  notBefore: now,
  notAfter: now + 10_000,
  commonNames: ['d1'],
  sanUris: ['spiffe://fleet.example/device/d1'],
  extendedKeyUsage: [oids.clientAuth],
};

test('validity is inclusive at both ends', () => {
  const spiffe = internal.mapping;
  assert.equal(mapped(good, spiffe, now - 1), 'not-yet-valid');
  assert.equal(mapped(good, spiffe, now), 'device/d1');
  assert.equal(mapped(good, spiffe, now + 10_999), 'device/d1');
  assert.equal(mapped(good, spiffe, now + 11_000), 'expired');
});

test('names that are nearly a principal are refused, not mapped', () => {
  const ids = [
    'd1\0',
    'd1\n',
    '\nd1',
    'd1 ',
    'ｄ1',
    'd\u0456',
    'd+1',
    '+',
    '#',
    'a/b',
    '',
    '..',
    '$share',
    '__proto__',
    'd1\u200b',
    'd'.repeat(129),
  ];
  for (const id of ids) {
    const both = { commonNames: [id], sanUris: [`spiffe://fleet.example/device/${id}`] };
    assert.equal(mapped({ ...good, ...both }), 'bad-id', JSON.stringify(id));
    assert.equal(mapped({ ...good, commonNames: [id] }), 'name-mismatch', JSON.stringify(id));
  }
  for (const id of ['constructor', 'toString', 'd1.a_b:c-d']) {
    const both = { commonNames: [id], sanUris: [`spiffe://fleet.example/device/${id}`] };
    assert.equal(mapped({ ...good, ...both }), `device/${id}`);
  }
});

test('URIs that are nearly our SPIFFE id are refused', () => {
  const table: Readonly<Record<string, string>> = {
    'spiffe://other.example/device/d1': 'foreign-trust-domain',
    'spiffe://FLEET.example/device/d1': 'foreign-trust-domain',
    'spiffe://fleet.example.evil/device/d1': 'foreign-trust-domain',
    'spiffe://user@fleet.example/device/d1': 'foreign-trust-domain',
    'spiffe://fleet.example:443/device/d1': 'foreign-trust-domain',
    'spiffe://fleet.example': 'foreign-trust-domain',
    'spiffe:///device/d1': 'foreign-trust-domain',
    'spiffe://fleet.example/': 'bad-id',
    'spiffe://fleet.example/device/': 'bad-id',
    'spiffe://fleet.example/device/d1/': 'bad-id',
    'spiffe://fleet.example//device/d1': 'bad-id',
    'spiffe://fleet.example/admin/d1': 'bad-id',
    'spiffe://fleet.example/Device/d1': 'bad-id',
    'spiffe://fleet.example/device/%641': 'bad-id',
    'spiffe://fleet.example/device/d1?x': 'bad-id',
    'SPIFFE://fleet.example/device/d1': 'no-identity',
    'https://fleet.example/device/d1': 'no-identity',
    'spiffe://fleet.example/service/d1': 'service/d1',
    'spiffe://fleet.example/operator/d1': 'operator/d1',
  };
  for (const [uri, expected] of Object.entries(table)) {
    assert.equal(mapped({ ...good, sanUris: [uri] }), expected, uri);
  }
});

test('the rule of a configured anchor', () => {
  const rule = {
    type: 'rule',
    kind: 'device',
    role: 'device',
    from: 'cn',
    prefix: 'acme-',
    autoRegister: true,
  } as const;
  const facts: CertificateFacts = { ...good, sanUris: [], extendedKeyUsage: undefined };
  const table: readonly (readonly [
    Partial<CertificateFacts>,
    Partial<typeof rule> | object,
    string,
  ])[] = [
    [{}, {}, 'device/acme-d1'],
    [{ extendedKeyUsage: [oids.clientAuth, oids.serverAuth] }, {}, 'device/acme-d1'],
    [{ extendedKeyUsage: [oids.serverAuth] }, {}, 'wrong-eku'],
    [{ isCa: true }, {}, 'ca-certificate'],
    [{ commonNames: ['d1', 'd2'] }, {}, 'ambiguous-identity'],
    [{ commonNames: [] }, {}, 'no-identity'],
    [{ commonNames: ['a/b'] }, {}, 'bad-id'],
    [{ commonNames: ['.'] }, {}, 'bad-id'],
    [{ commonNames: ['d'.repeat(125)] }, {}, 'bad-id'],
    [{ sanDnsNames: ['d2.example'] }, { from: 'san-dns', prefix: '' }, 'device/d2.example'],
    [{ sanDnsNames: ['*.example'] }, { from: 'san-dns' }, 'bad-id'],
    [
      { sanUris: ['urn:dev:mac:0024befffe804ff1'] },
      { from: 'san-uri', prefix: '' },
      'device/urn:dev:mac:0024befffe804ff1',
    ],
    [
      { subjectSerialNumbers: ['SN-7'] },
      { from: 'serial-number', kind: 'service' },
      'service/acme-SN-7',
    ],
  ];
  for (const [change, ruleChange, expected] of table) {
    assert.equal(mapped({ ...facts, ...change }, { ...rule, ...ruleChange }), expected);
  }
});
