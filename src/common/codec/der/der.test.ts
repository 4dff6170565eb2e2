import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fc } from '../../base/property-test-support.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../base/errors.ts';
import { decodeOid, encodeOid } from './oid.ts';
import { decodePem, encodePem } from './pem.ts';
import { DerReader } from './reader.ts';
import { tag } from './tag.ts';
import { decodeText } from './text.ts';
import { decodeTime, encodeTime } from './time.ts';
import * as write from './writer.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const isMalformed = (thrown: unknown): boolean =>
  thrown instanceof SallyportError && thrown.code === 'malformed';

/** Walks every element, whatever it is. */
function walk(reader: DerReader): void {
  while (!reader.atEnd) {
    const element = reader.element();
    if ((element.tag & 0x20) !== 0) walk(reader.within(element));
  }
}

const refusedElements: readonly (readonly [string, string, (reader: DerReader) => unknown])[] = [
  ['indefinite length', '30 80 00 00', (r) => r.sequence()],
  ['long form of a short length', '04 81 01 00', (r) => r.octetString()],
  ['length with a leading zero', `04 82 00 80 ${'00'.repeat(128)}`, (r) => r.octetString()],
  ['length of five octets', '04 85 00 00 00 00 01 00', (r) => r.octetString()],
  ['length beyond the input', '04 02 00', (r) => r.octetString()],
  ['length beyond the parent', '30 03 04 02 00', (r) => r.sequence().octetString()],
  ['length of 4 GiB', '04 84 ff ff ff ff', (r) => r.octetString()],
  ['high tag number', '1f 81 00 00', (r) => r.element()],
  ['nothing', '', (r) => r.element()],
  ['tag without length', '30', (r) => r.element()],
  ['wrong tag', '04 00', (r) => r.sequence()],
  ['trailing bytes', '05 00', (r) => r.end()],
  ['boolean 0x01', '01 01 01', (r) => r.boolean()],
  ['boolean of two octets', '01 02 ff ff', (r) => r.boolean()],
  ['empty integer', '02 00', (r) => r.integer()],
  ['integer with a needless 00', '02 02 00 7f', (r) => r.integer()],
  ['integer with a needless ff', '02 02 ff 80', (r) => r.integer()],
  ['negative small integer', '02 01 ff', (r) => r.smallInteger()],
  ['small integer of five octets', '02 05 01 00 00 00 00', (r) => r.smallInteger()],
  ['bit string without its first octet', '03 00', (r) => r.bitString()],
  ['eight unused bits', '03 02 08 00', (r) => r.bitString()],
  ['unused bits that are set', '03 02 01 01', (r) => r.bitString()],
  ['unused bits of nothing', '03 01 01', (r) => r.bitString()],
  ['empty OID', '06 00', (r) => r.oid()],
  ['OID arc with a leading zero', '06 03 2a 80 01', (r) => r.oid()],
  ['OID that is cut off', '06 02 2a 86', (r) => r.oid()],
  ['OID arc past 2^53', '06 0a 2a ff ff ff ff ff ff ff ff 7f', (r) => r.oid()],
];

for (const [name, input, read] of refusedElements) {
  test(`the reader refuses: ${name}`, () => {
    assert.throws(() => read(new DerReader(hex(input))), isMalformed);
  });
}

test('nesting is bounded', () => {
  let nested = write.nullValue();
  for (let depth = 0; depth < 15; depth++) nested = write.sequence(nested);
  walk(new DerReader(nested));
  for (let depth = 0; depth < 2; depth++) nested = write.sequence(nested);
  assert.throws(() => walk(new DerReader(nested)), isMalformed);
});

test('whatever the input, the reader returns or says malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      try {
        walk(new DerReader(Buffer.from(input)));
      } catch (thrown) {
        assert.ok(isMalformed(thrown), String(thrown));
      }
    }),
  );
});

test('what is written is read back: lengths around every form', () => {
  for (const length of [0, 1, 127, 128, 129, 255, 256, 257, 65_535, 65_536]) {
    const content = Buffer.alloc(length, 7);
    const reader = new DerReader(write.octetString(content));
    assert.deepEqual(reader.octetString(), content);
    reader.end();
  }
});

test('what is written is read back: integers, identifiers, times, bits, text', () => {
  const seconds = fc.integer({ min: -1_000_000_000, max: 250_000_000_000 });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 24 }),
      fc.nat(),
      fc.tuple(fc.nat(2), fc.nat(39), fc.array(fc.maxSafeNat().map((n) => n % 2 ** 46))),
      seconds,
      fc.uniqueArray(fc.nat(15), { minLength: 1 }),
      fc.string({ unit: 'grapheme' }),
      (magnitude, small, [first, second, arcs], second1970, bits, text) => {
        const dotted = [first, second, ...arcs.slice(0, 6)].join('.');
        const reader = new DerReader(
          write.sequence(
            write.unsignedInteger(magnitude),
            write.unsignedInteger(small),
            write.oid(dotted),
            write.time(second1970 * 1000),
            write.namedBits(bits),
            write.utf8String(text),
          ),
        ).sequence();
        const asNumber = (octets: Uint8Array): bigint =>
          BigInt(`0x0${Buffer.from(octets).toString('hex')}`);
        const integer = reader.integer();
        assert.equal(asNumber(integer), asNumber(magnitude));
        assert.ok((integer[0] ?? 0) < 0x80, 'never negative');
        assert.equal(reader.smallInteger(), small);
        assert.equal(reader.oid(), dotted);
        assert.equal(reader.time(), second1970 * 1000);
        const { bytes } = reader.bitString();
        const read = [...Array(16).keys()].filter(
          (bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0,
        );
        assert.deepEqual(
          read,
          bits.toSorted((a, b) => a - b),
        );
        assert.equal(reader.text(), text);
        reader.end();
      },
    ),
  );
});

test('openssl reads what is written', () => {
  const der = write.sequence(
    write.unsignedInteger(Buffer.from('00ff01', 'hex')),
    write.oid('1.3.6.1.4.1.311.21.20'),
    write.time(Date.UTC(2049, 11, 31, 23, 59, 59)),
    write.time(Date.UTC(2050, 0, 1)),
    write.explicit(3, write.setOf(write.utf8String('zebra'), write.boolean(true))),
    write.octetString(Buffer.alloc(300)),
  );
  const text = execFileSync('openssl', ['asn1parse', '-inform', 'DER'], {
    input: der,
    encoding: 'utf8',
  });
  const values = text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^.*?(prim|cons): /, '').trimEnd())
    .map((line) => line.replace(/\s*:\s*/, ':').replace(/\s+\[HEX DUMP\].*/, ''));
  assert.deepEqual(values, [
    'SEQUENCE',
    'INTEGER:FF01',
    'OBJECT:1.3.6.1.4.1.311.21.20',
    'UTCTIME:491231235959Z',
    'GENERALIZEDTIME:20500101000000Z',
    'cont [ 3 ]',
    'SET',
    'BOOLEAN:255',
    'UTF8STRING:zebra',
    'OCTET STRING',
  ]);
});

test('identifiers agree with openssl', () => {
  using folder = temporaryFolder();
  const file = folder.at('oid.der');
  for (const dotted of [
    '2.5.4.3',
    '1.2.840.10045.4.3.2',
    '2.999.3',
    '0.39.1',
    '2.100.4294967296',
  ]) {
    execFileSync('openssl', ['asn1parse', '-noout', '-genstr', `OID:${dotted}`, '-out', file]);
    const der = readFileSync(file);
    assert.deepEqual(write.oid(dotted), der);
    assert.equal(new DerReader(der).oid(), dotted);
  }
  for (const bad of ['', '1', '3.1', '0.40', '1.2.', '1.02', '1.-2', 'a.b']) {
    assert.throws(() => encodeOid(bad), isMalformed, bad);
  }
  assert.throws(() => decodeOid(Buffer.alloc(65, 1)), isMalformed);
});

const refusedTimes: readonly (readonly [number, string])[] = [
  [tag.utcTime, '2601010000Z'],
  [tag.utcTime, '260101000000+0100'],
  [tag.utcTime, '260101000000'],
  [tag.utcTime, '260229000000Z'],
  [tag.utcTime, '261301000000Z'],
  [tag.utcTime, '260101240000Z'],
  [tag.utcTime, '260101006000Z'],
  [tag.utcTime, '260101000060Z'],
  [tag.utcTime, '26010100000:Z'],
  [tag.generalizedTime, '20260101000000.5Z'],
  [tag.generalizedTime, '260101000000Z'],
  [tag.utf8String, '260101000000Z'],
];
for (const [tagOctet, text] of refusedTimes) {
  test(`not a time: ${text}`, () => {
    assert.throws(() => decodeTime(tagOctet, Buffer.from(text)), isMalformed);
  });
}

test('the century of a UTCTime turns at 50', () => {
  assert.equal(decodeTime(tag.utcTime, Buffer.from('500101000000Z')), Date.UTC(1950, 0, 1));
  assert.equal(decodeTime(tag.utcTime, Buffer.from('490101000000Z')), Date.UTC(2049, 0, 1));
  assert.equal(encodeTime(Date.UTC(1949, 0, 1)).tagOctet, tag.generalizedTime);
  assert.throws(() => encodeTime(Number.NaN), isMalformed);
});

test('text keeps every character and repairs nothing', () => {
  assert.equal(decodeText(tag.utf8String, Buffer.from('d1\0\n')), 'd1\0\n');
  assert.equal(decodeText(tag.utf8String, Buffer.from('\ufeffd1')), '\ufeffd1');
  assert.equal(decodeText(tag.bmpString, Buffer.from('00640031', 'hex')), 'd1');
  assert.equal(decodeText(tag.universalString, Buffer.from('0001f6000000002e', 'hex')), '😀.');
  assert.equal(decodeText(tag.teletexString, Buffer.from('e9', 'hex')), 'é');
  const bad: readonly (readonly [number, string])[] = [
    [tag.utf8String, 'ff'],
    [tag.utf8String, 'c080'],
    [tag.printableString, 'e9'],
    [tag.ia5String, '80'],
    [tag.bmpString, '00'],
    [tag.universalString, '00110000'],
    [tag.universalString, '0000'],
    [tag.octetString, '41'],
  ];
  for (const [tagOctet, octets] of bad) {
    assert.throws(() => decodeText(tagOctet, hex(octets)), isMalformed, octets);
  }
});

test('PEM is read with text around it and refused when it is not whole', () => {
  const der = Buffer.from('hello, this is longer than one line of sixty-four characters it is');
  const pem = encodePem('THING', der);
  assert.deepEqual(decodePem('THING', `intro\n${pem.replaceAll('\n', '\r\n')}${pem}`), [der, der]);
  assert.deepEqual(decodePem('OTHER', pem), []);
  for (const bad of [
    pem.replace('-----END THING-----', ''),
    pem.replace('a', '*'),
    pem.replace('IGlz', 'IGl'),
  ]) {
    assert.throws(() => decodePem('THING', bad), isMalformed);
  }
});

test('a key or a signature is whole octets, even where the bits left out are zero', () => {
  const whole = Buffer.from('0303000102', 'hex');
  const fraction = Buffer.from('0303010102', 'hex');
  assert.deepEqual(new DerReader(whole).bitStringOctets(), Buffer.of(1, 2));
  assert.deepEqual(new DerReader(fraction).bitString(), { bytes: Buffer.of(1, 2), unusedBits: 1 });
  assert.throws(() => new DerReader(fraction).bitStringOctets(), { code: 'malformed' });
});
