import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { DerReader } from '../../../common/codec/der/reader.ts';
import {
  enumerated,
  octetString,
  oid,
  sequence,
  time,
  unsignedInteger,
} from '../../../common/codec/der/writer.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { CrlEntries } from './crl-entries.ts';
import type { RevokedEntry } from './crl-entries.ts';

/** The same by the general writer. */
function expected({ serial, revokedAt, reason }: RevokedEntry): Buffer {
  const octets = Buffer.from(serial.length % 2 === 0 ? serial : `0${serial}`, 'hex');
  const code = sequence(oid(oids.reasonCode), octetString(enumerated(reason)));
  const extensions = reason === 0 ? [] : [sequence(code)];
  return sequence(unsignedInteger(octets), time(revokedAt), ...extensions);
}

const entry: fc.Arbitrary<RevokedEntry> = fc.record({
  serial: fc
    .uint8Array({ minLength: 1, maxLength: 20 })
    .map((octets) => Buffer.from(octets).toString('hex').replace(/^0+/, ''))
    .filter((hex) => hex !== ''),
  // Through 2049 and beyond, where the form of a time changes.
  revokedAt: fc.integer({ min: 0, max: Date.UTC(2120, 0) }),
  reason: fc.constantFrom(0, 1, 3, 4, 5, 9),
});

test('entries are written as the general writer writes them, across days, forms and blocks', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 50 }), fc.constantFrom(1, 40), (entries, repeated) => {
      const written = new CrlEntries();
      const wanted: Buffer[] = [];
      for (let i = 0; i < repeated; i += 1) {
        for (const one of entries) {
          written.add(one);
          wanted.push(expected(one));
        }
      }
      assert.equal(written.count, wanted.length);
      assert.ok(Buffer.concat(written.parts).equals(Buffer.concat(wanted)));
    }),
    { numRuns: 200 },
  );
});

test('many entries are all there, in order', () => {
  const written = new CrlEntries();
  const serials = Array.from({ length: 10_000 }, (_, i) => (i + 1).toString(16));
  for (const serial of serials) written.add({ serial, revokedAt: 0, reason: 1 });
  const read: string[] = [];
  const list = new DerReader(Buffer.concat(written.parts));
  while (!list.atEnd) read.push(list.sequence().integer().toString('hex').replace(/^0+/, ''));
  assert.deepEqual(read, serials);
});
