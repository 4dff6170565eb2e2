/**
 * Certificates and certificate requests in DER: of a request nothing was verified when it is read, of a certificate its
 * signature only, by whichever authority an operator trusts.
 *
 * - nothing is thrown but a refusal;
 * - what is read is a principal whose name is an id, or refused for a reason;
 * - a request whose bytes differ from what its owner signed is never good for a certificate.
 */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { parsePrincipalName, principalName } from '../../../src/common/base/principal.ts';
import { parseCertificate } from '../../../src/common/identity/certificate.ts';
import { principalOfCertificate } from '../../../src/common/identity/principal-of-certificate.ts';
import { checkCsr } from '../../../src/control/enrolment/check-csr.ts';
import type { FuzzTarget } from '../fuzz.ts';

const certificate = Buffer.from(
  [
    'MIIByTCCAW+gAwIBAgIUHpxoDvVAnalI5gsKJES8R0e60F4wCgYIKoZIzj0EAwIwGTELMAkGA1UEAwwCZDExCjAIBg',
    'NVBAUTATcwHhcNMjYxMTIxMTEwNDUxWhcNMzYxMTE4MTEwNDUxWjAZMQswCQYDVQQDDAJkMTEKMAgGA1UEBRMBNzBZ',
    'MBMGByqGSM49AgEGCCqGSM49AwEHA0IABKchEy7FHBp2rupSVoIBNuNDpNbvhmFr9MMiSoU9iJqk6rq4a1UGhqBfCo',
    'FQVswZIIQ8w1lgD77CzimHRyG5r7qjgZQwgZEwDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAww',
    'CgYIKwYBBQUHAwIwPQYDVR0RBDYwNIYhc3BpZmZlOi8vZmxlZXQuaW50ZXJuYWwvZGV2aWNlL2QxgglhLmV4YW1wbG',
    'WHBMAAAgEwHQYDVR0OBBYEFDMjzG/mDmbVswVKxgQwmEdcKoSiMAoGCCqGSM49BAMCA0gAMEUCIQDq6OfbPeu46WL5',
    'aTGCAHhkZ8Odwd014scn/DZmNsbNLQIgRPuAdTRQjfvMJVvt2A5GOyKe/loclfcc+irQ4XqXmgc=',
  ].join(''),
  'base64',
);
const request = Buffer.from(
  [
    'MIIBcDCCARUCAQAwDTELMAkGA1UEAwwCZDEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASnIRMuxRwadq7qUlaCAT',
    'bjQ6TW74Zha/TDIkqFPYiapOq6uGtVBoagXwqBUFbMGSCEPMNZYA++ws4ph0chua+6oIGlMIGiBgkqhkiG9w0BCQ4x',
    'gZQwgZEwDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwIwPQYDVR0RBDYwNI',
    'Yhc3BpZmZlOi8vZmxlZXQuaW50ZXJuYWwvZGV2aWNlL2QxgglhLmV4YW1wbGWHBMAAAgEwHQYDVR0OBBYEFDMjzG/m',
    'DmbVswVKxgQwmEdcKoSiMAoGCCqGSM49BAMCA0kAMEYCIQDIHY4THsAybq8KchIGecAGk2Je2d5W6KGsVAxA+Mg2sQ',
    'IhAKNL3GKTXA94NjQwefCalv6a39ev0uq2QhBnw/GsODmN',
  ].join(''),
  'base64',
);
/** What its owner signed is the first element, of 277 bytes. */
const signedEnd = 4 + 4 + 277;
/** In the middle of the certificate's time. */
const nowMs = Date.UTC(2030, 0, 1);
const expected = { name: principalName('device', 'd1'), trustDomain: 'fleet.internal' };

function unlessRefused<T>(code: string, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error));
    assert.equal(error.code, code);
    return undefined;
  }
}

/** The first byte of an input says whether it is a certificate or a request. */
function check(input: Buffer): void {
  const der = input.subarray(1);
  if (input[0] === 1) {
    const spki = unlessRefused('invalid-csr', () => checkCsr(der, expected));
    if (spki !== undefined) assert.ok(der.includes(spki), 'a key that is not in the request');
    // Only the signature after them has more than one spelling.
    const isSigned = der.subarray(4, signedEnd).equals(request.subarray(4, signedEnd));
    assert.ok(spki === undefined || isSigned, 'a request that nobody signed');
    return;
  }
  const facts = unlessRefused('invalid-certificate', () => parseCertificate(der));
  if (facts === undefined) return;
  assert.match(facts.serialHex, /^[0-9a-f]+$/);
  for (const mapping of [
    { type: 'spiffe' },
    { type: 'rule', kind: 'device', role: 'device', from: 'cn', prefix: 'x-', autoRegister: true },
  ] as const) {
    const mapped = principalOfCertificate(
      facts,
      { name: 'a', certificates: [], mapping },
      'fleet.internal',
      nowMs,
    );
    if (mapped.ok) assert.equal(parsePrincipalName(mapped.principal)?.name, mapped.principal);
  }
}

export const certificates: FuzzTarget = {
  seeds: [Buffer.concat([Buffer.of(0), certificate]), Buffer.concat([Buffer.of(1), request])],
  words: [
    Buffer.of(0x30, 0x80),
    Buffer.of(0x30, 0x82, 0xff, 0xff),
    Buffer.of(0x06, 0x03, 0x55, 0x04, 0x03),
    Buffer.from('spiffe://fleet.internal/device/'),
    Buffer.of(0x0c, 0x02),
  ],
  maxBytes: 900,
  check,
};
