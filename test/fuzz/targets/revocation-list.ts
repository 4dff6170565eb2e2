/**
 * Revocation lists of other authorities, read before anybody has verified who signed them.
 *
 * - nothing is thrown but a refusal;
 * - what is signed, who signed it and every serial number is where the bytes say, and nowhere else;
 * - a list keeps every serial number that it gives, and no other.
 */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { SerialSet } from '../../../src/common/base/serial-set.ts';
import { readCrlHead, revokedIn } from '../../../src/control/revocation/external/read-crl.ts';
import type { FuzzTarget } from '../fuzz.ts';

const list = Buffer.from(
  [
    'MIIBNjCB3QIBATAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJDQRcNMjYxMTAxMDAwMDAwWhcNMjYxMjAxMDAwMDAwWj',
    'BcMCICAwoLDBcNMjYxMTIxMTMxMDUxWjAMMAoGA1UdFQQDCgEBMCICAwD/ARcNMjYxMTIxMTMxMDUxWjAMMAoGA1Ud',
    'FQQDCgEGMBICAQcXDTI2MTEyMTEzMTA1MVqgQTA/MB8GA1UdIwQYMBaAFHNIsvjT194UF+lbmJ4P/PF3SAeTMAsGA1',
    'UdFAQEAgIBAjAPBgNVHRwBAf8EBTADgQH/MAoGCCqGSM49BAMCA0gAMEUCIQDLF06iwNi5Vt4GPeBHNBWHB1wDnJHd',
    'hxjIG3j3bmjGygIgXCn39RpGhHPb5lX/4QUH9tZu1HKlksotglTgBhcLyuQ=',
  ].join(''),
  'base64',
);

function check(input: Buffer): void {
  try {
    const head = readCrlHead(input);
    assert.ok(input.includes(head.signed) && head.signed.includes(head.issuer));
    assert.ok(head.number >= 0n && Number.isFinite(head.thisUpdate + head.nextUpdate));
    const serials = [...revokedIn(head.entries)].map(({ serial }) => serial);
    const set = SerialSet.for(serials.length, 20);
    for (const serial of serials) {
      assert.ok(serial.length >= 1 && serial.length <= 20 && serial[0] !== 0);
      assert.ok(head.entries.includes(serial));
      set.add(serial);
    }
    assert.ok(serials.every((serial) => set.has(serial)));
    assert.equal(set.size, new Set(serials.map((serial) => serial.toString('hex'))).size);
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    assert.equal(error.code, 'malformed');
  }
}

export const revocationList: FuzzTarget = {
  seeds: [list],
  words: [
    Buffer.of(0x30, 0x80),
    Buffer.of(0x30, 0x82, 0xff, 0xff),
    Buffer.of(0x02, 0x01, 0x00),
    Buffer.of(0x06, 0x03, 0x55, 0x1d, 0x15),
    Buffer.of(0x06, 0x03, 0x55, 0x1d, 0x1c),
    Buffer.of(0x0a, 0x01, 0x08),
  ],
  maxBytes: 900,
  check,
};
