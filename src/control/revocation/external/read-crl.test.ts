import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { makeAuthority } from '../../../../test/harness/openssl.ts';
import { extension, revocationList } from '../../../../test/harness/revocation-list.ts';
import type { ListOptions } from '../../../../test/harness/revocation-list.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { contextConstructed, contextPrimitive } from '../../../common/codec/der/tag.ts';
import { element, sequence, unsignedInteger } from '../../../common/codec/der/writer.ts';
import { serialText } from '../../../common/base/serial-set.ts';
import { readCrlHead, revokedIn } from './read-crl.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Factory');

interface FoundEntry {
  readonly serialHex: string;
  readonly onHold: boolean;
}

function entriesOf(der: Buffer): FoundEntry[] {
  return [...revokedIn(readCrlHead(der).entries)].map(({ serial, onHold }) => ({
    serialHex: serialText(serial),
    onHold,
  }));
}

function outcome(der: Buffer): string {
  try {
    return JSON.stringify(entriesOf(der));
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error));
    assert.equal(error.code, 'malformed');
    return error.message;
  }
}

/** IssuingDistributionPoint with these fields. */
function scope(...fields: readonly Buffer[]): Buffer {
  return extension(oids.issuingDistributionPoint, sequence(...fields), true);
}
const isTrue = Buffer.of(0xff);

test('a list is read: its number, its times, and what it revokes or only holds', () => {
  const thisUpdate = new Date('2026-11-01T10:00:00Z');
  const nextUpdate = new Date('2026-11-08T10:00:00Z');
  const der = revocationList(authority, {
    number: 4_711,
    thisUpdate,
    nextUpdate,
    entries: [
      { serial: '0a0b' },
      { serial: 'ff00112233445566778899aabbccddee', reason: 1 },
      { serial: '07', reason: 6 },
    ],
  });
  const head = readCrlHead(der);
  assert.equal(head.number, 4_711n);
  assert.equal(head.thisUpdate, thisUpdate.getTime());
  assert.equal(head.nextUpdate, nextUpdate.getTime());
  assert.match(head.authorityKeyId ?? '', /^[0-9a-f]{40}$/);
  assert.deepEqual(entriesOf(der), [
    { serialHex: 'a0b', onHold: false },
    { serialHex: 'ff00112233445566778899aabbccddee', onHold: false },
    { serialHex: '7', onHold: true },
  ]);
});

test('a list that revokes nothing is a list', () => {
  assert.deepEqual(entriesOf(revocationList(authority)), []);
});

const refused: Readonly<Record<string, readonly [ListOptions, RegExp]>> = {
  'of version 1': [{ version: 0 }, /version 2/],
  'without a number': [{ number: undefined }, /no number/],
  'without an end': [{ nextUpdate: undefined }, /nextUpdate/],
  'that is a delta': [
    { extensions: [extension('2.5.29.27', unsignedInteger(1), true)] },
    /critical extension 2\.5\.29\.27/,
  ],
  'with a critical extension that nobody knows': [
    { extensions: [extension('1.2.3.4', Buffer.of(5, 0), true)] },
    /critical extension 1\.2\.3\.4/,
  ],
  'with two numbers': [{ extensions: [extension(oids.crlNumber, unsignedInteger(9))] }, /twice/],
  'of CA certificates only': [
    { extensions: [scope(element(contextPrimitive(2), isTrue))] },
    /CA certificates only/,
  ],
  'of some reasons only': [
    { extensions: [scope(element(contextPrimitive(3), Buffer.of(6, 0x40)))] },
    /some reasons/,
  ],
  "of others' certificates": [
    { extensions: [scope(element(contextPrimitive(4), isTrue))] },
    /other authorities/,
  ],
  'of attribute certificates': [
    { extensions: [scope(element(contextPrimitive(5), isTrue))] },
    /attribute certificates/,
  ],
  "with an entry that is another authority's": [
    { entries: [{ serial: '01', extensions: [extension('2.5.29.29', sequence(), true)] }] },
    /critical extension 2\.5\.29\.29/,
  ],
  'with an entry that is revoked and removed': [
    { entries: [{ serial: '01', reason: 8 }] },
    /only a delta/,
  ],
};
for (const [what, [options, reason]] of Object.entries(refused)) {
  test(`a list ${what} is refused`, () => {
    assert.match(outcome(revocationList(authority, options)), reason);
  });
}

test('a list of end entities, with a name for itself, is whole for clients', () => {
  const name = element(contextConstructed(0), element(contextConstructed(0)));
  const der = revocationList(authority, {
    entries: [{ serial: '05' }],
    extensions: [scope(name, element(contextPrimitive(1), isTrue))],
  });
  assert.deepEqual(entriesOf(der), [{ serialHex: '5', onHold: false }]);
});

test('a serial number that no certificate can have here is passed over', () => {
  const der = revocationList(authority, {
    entries: [{ serial: '00' }, { serial: `7f${'00'.repeat(20)}` }, { serial: '02' }],
  });
  assert.deepEqual(entriesOf(der), [{ serialHex: '2', onHold: false }]);
});

test('a list that is cut off, anywhere, is refused', () => {
  const der = revocationList(authority, {
    entries: [{ serial: '0102030405', reason: 1 }, { serial: '06' }],
  });
  for (let length = 0; length < der.length; length += 1) {
    assert.match(outcome(der.subarray(0, length)), /DER|cannot be used/, `${length} bytes`);
  }
  assert.match(outcome(Buffer.concat([der, Buffer.of(0)])), /DER/);
});

test('whatever is changed in a list, it is read or refused and nothing else', () => {
  const der = revocationList(authority, {
    entries: [{ serial: '0102030405', reason: 6 }, { serial: '06' }],
  });
  for (let at = 0; at < der.length; at += 1) {
    for (const value of [0x00, 0x30, 0x80, 0x84, 0xff]) {
      const changed = Buffer.from(der);
      changed[at] = value;
      outcome(changed);
    }
  }
});

test('a list that openssl wrote is read', () => {
  const config = folder.at('openssl.cnf');
  writeFileSync(folder.at('number'), '1F\n');
  writeFileSync(
    folder.at('index.txt'),
    [
      'R\t301231235959Z\t251101100000Z,keyCompromise\t1234\tunknown\t/CN=a',
      'R\t301231235959Z\t251101100000Z,certificateHold\tAB\tunknown\t/CN=b',
      'V\t301231235959Z\t\t99\tunknown\t/CN=c',
      '',
    ].join('\n'),
  );
  writeFileSync(
    config,
    [
      '[ca]',
      'default_ca = d',
      '[d]',
      `database = ${folder.at('index.txt')}`,
      `crlnumber = ${folder.at('number')}`,
      'default_md = sha256',
      'default_crl_days = 7',
      'crl_extensions = e',
      '[e]',
      'authorityKeyIdentifier = keyid:always',
      '',
    ].join('\n'),
  );
  const args = ['ca', '-gencrl', '-config', config, '-cert', authority.crt, '-keyfile'];
  const pem = folder.at('list.pem');
  const der = folder.at('list.der');
  execFileSync('openssl', [...args, authority.key, '-out', pem], { stdio: 'pipe' });
  execFileSync('openssl', ['crl', '-in', pem, '-outform', 'DER', '-out', der], { stdio: 'pipe' });
  const list = readFileSync(der);
  assert.equal(readCrlHead(list).number, 0x1fn);
  assert.deepEqual(entriesOf(list), [
    { serialHex: 'ab', onHold: true },
    { serialHex: '1234', onHold: false },
  ]);
});

test('a list of others is one, however its TRUE is written', () => {
  for (const value of [0xff, 0x01]) {
    const fields = sequence(element(contextPrimitive(4), Buffer.of(value)));
    const extensions = [extension(oids.issuingDistributionPoint, fields, true)];
    assert.throws(() => readCrlHead(revocationList(authority, { extensions })), {
      code: 'malformed',
    });
  }
});
