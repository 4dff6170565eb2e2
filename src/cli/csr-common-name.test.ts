import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { csrCommonName } from './csr-common-name.ts';

function opensslCsr(subject: string): string {
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    '/dev/null',
  ];
  return execFileSync('openssl', ['req', '-new', ...key, '-utf8', '-subj', subject], {
    stdio: 'pipe',
  }).toString();
}

test('finds the common name of a request made by openssl', () => {
  assert.equal(csrCommonName(opensslCsr('/O=Acme/CN=d1/OU=west')), 'd1');
  assert.equal(csrCommonName(opensslCsr('/CN=zähler-7')), 'zähler-7');
});

test('none or several common names are undefined', () => {
  assert.equal(csrCommonName(opensslCsr('/O=Acme')), undefined);
  assert.equal(csrCommonName(opensslCsr('/CN=d1/CN=d2')), undefined);
});

test('anything else is undefined and never throws', () => {
  assert.equal(csrCommonName(''), undefined);
  const good = opensslCsr('/CN=d1');
  const der = Buffer.from(good.split('\n').slice(1, -2).join(''), 'base64');
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), fc.nat(der.length), (at, value, end) => {
      const broken = Buffer.from(der);
      broken[at] = value;
      const text = broken.subarray(0, end).toString('base64');
      const name = csrCommonName(`-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END`);
      return name === undefined || typeof name === 'string';
    }),
  );
});
