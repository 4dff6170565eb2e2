import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, generatePrimeSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import {
  acceptedRequests,
  derOf,
  keyFile,
  ownSan,
  refusedRequests,
  withExtensions,
} from '../../../test/harness/csr-requests.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { decodePem } from '../../common/codec/der/pem.ts';
import { checkCsr } from './check-csr.ts';
import { modulusWeakness } from './checks/rsa-modulus.ts';

const expected = { name: principalName('device', 'd1'), trustDomain: 'fleet.example' };

for (const [what, make] of Object.entries(acceptedRequests)) {
  test(`a request is accepted: ${what}`, () => {
    const made = make();
    const isPem = made[0] !== 0x30;
    const peer = execFileSync(
      'openssl',
      ['req', '-inform', isPem ? 'PEM' : 'DER', '-noout', '-pubkey'],
      { input: made, stdio: ['pipe', 'pipe', 'ignore'] },
    );
    assert.deepEqual(checkCsr(made, expected), decodePem('PUBLIC KEY', peer.toString())[0]);
  });
}

for (const [what, make, message] of refusedRequests) {
  test(`a request is refused: ${what}`, () => {
    const made = make();
    assert.throws(
      () => checkCsr(made, expected),
      (thrown) => {
        assert.ok(thrown instanceof SallyportError, String(thrown));
        assert.equal(thrown.code, 'invalid-csr', thrown.message);
        assert.match(thrown.message, message);
        return true;
      },
    );
  });
}

test('whatever is in a request, the answer is a certificate’s key or invalid-csr', () => {
  const der = derOf(withExtensions(ownSan, 'keyUsage=digitalSignature'));
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ mask;
      assert.throws(
        () => checkCsr(changed, expected),
        (thrown) => thrown instanceof SallyportError && thrown.code === 'invalid-csr',
        `byte ${at}`,
      );
    }),
    { numRuns: 1000 },
  );
  for (let length = 0; length < der.length; length++) {
    assert.throws(() => checkCsr(der.subarray(0, length), expected), SallyportError);
  }
});

test('a signature that leaves bits out is refused, even where they are zero', () => {
  // Whether they are is chance: an ECDSA signature ends in a zero bit every other time.
  for (let tries = 0; tries < 64; tries += 1) {
    const der = Buffer.from(derOf(withExtensions(ownSan, 'keyUsage=digitalSignature')));
    const signature = derSignatureAt(der);
    if (((der.at(-1) ?? 1) & 1) !== 0) continue;
    der[signature] = 1;
    assert.throws(() => checkCsr(der, expected), { code: 'invalid-csr' });
    return;
  }
  assert.fail('no signature ended in a zero bit');
});

/** Offset of the octet that counts the unused bits: right before the SEQUENCE of r and s, the last in the request. */
function derSignatureAt(der: Buffer): number {
  for (let at = der.length - 64; at > der.length - 80; at -= 1) {
    if (der[at] === 0 && der[at + 1] === 0x30 && at + 3 + (der[at + 2] ?? 0) === der.length)
      return at;
  }
  return assert.fail('no signature found');
}

test('nothing is found in a sound modulus', () => {
  const { n = '' } = createPrivateKey(readFileSync(keyFile('rsa2048'))).export({ format: 'jwk' });
  const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
  assert.equal(modulusWeakness(modulus), undefined);
});

test('a modulus is a square', () => {
  const p = generatePrimeSync(1024, { bigint: true });
  assert.match(modulusWeakness(p * p) ?? '', /too close/);
  assert.equal(modulusWeakness(p * generatePrimeSync(1024, { bigint: true })), undefined);
});
