/**
 * OCSP requests, which anybody may send.
 *
 * - nothing is thrown but a refusal;
 * - what an answer would repeat, and sign, are bytes of the request, of a bounded size;
 * - a serial number is in one form, whichever bytes it was written in.
 */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { readOcspRequest } from '../../../src/control/revocation/ocsp/ocsp-request.ts';
import type { FuzzTarget } from '../fuzz.ts';

const single = Buffer.from(
  [
    'MGcwZTA+MDwwOjAJBgUrDgMCGgUABBRCTvM2bYsX5PmGXqeEn+ECutGoLgQU8rD5F7m2b6vOivyGN1JSZxJhgJgCAQ',
    'GiIzAhMB8GCSsGAQUFBzABAgQSBBDgQ6eBgp28dH8/EF6c4SMr',
  ].join(''),
  'base64',
);
const several = Buffer.from(
  [
    'MIIBBjCCAQIwgdowPTA7MAkGBSsOAwIaBQAEFEJO8zZtixfk+YZep4Sf4QK60aguBBTysPkXubZvq86K/IY3UlJnEm',
    'GAmAICEjQwPzA9MAkGBSsOAwIaBQAEFEJO8zZtixfk+YZep4Sf4QK60aguBBTysPkXubZvq86K/IY3UlJnEmGAmAIE',
    'AP8A/zBYMFYwDQYJYIZIAWUDBAIBBQAEIGhhbYLxH8jd4pbqg9nX8hrNdStLCPA6OJ3lfscGYb9qBCAo2jHgjBupZe',
    'HQoVmgipX7hR/eBZiniPuX4MJ6JvlYjQIBB6IjMCEwHwYJKwYBBQUHMAECBBIEEFIqViaLI4LSXTfF93EAzus=',
  ].join(''),
  'base64',
);
/** Two hashes of 64 octets, their algorithm, a serial number of 21, and what is around them. */
const maxCertIdBytes = 200;
const maxNonceBytes = 2 + 1 + 128;

function check(input: Buffer): void {
  try {
    const { certificates, nonce } = readOcspRequest(input);
    assert.ok(certificates.length >= 1 && certificates.length <= 16);
    for (const { raw, issuerNameHash, issuerKeyHash, serial } of certificates) {
      assert.ok(input.includes(raw) && raw.length <= maxCertIdBytes);
      assert.ok(raw.includes(issuerNameHash) && raw.includes(issuerKeyHash));
      assert.ok(serial === undefined || /^[1-9a-f][0-9a-f]{0,41}$/.test(serial));
    }
    if (nonce === undefined) return;
    assert.ok(input.includes(nonce) && nonce.length > 2 && nonce.length <= maxNonceBytes);
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    assert.equal(error.code, 'malformed');
  }
}

export const ocspRequest: FuzzTarget = {
  seeds: [single, several],
  words: [
    Buffer.of(0x30, 0x80),
    Buffer.of(0x30, 0x82, 0xff, 0xff),
    Buffer.of(0x02, 0x01, 0x00),
    Buffer.of(0x05, 0x00),
    Buffer.of(0xa2, 0x00),
    Buffer.of(0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02),
  ],
  maxBytes: 900,
  check,
};
