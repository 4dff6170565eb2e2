import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { proxyHeader } from '../../../test/harness/proxy-bytes.ts';
import { fixedBytes, readFixedPart, sourceIn } from './proxy-header.ts';

const head = (bytes: Buffer) => readFixedPart(bytes.subarray(0, fixedBytes));

test('source addresses of both families are read, whatever TLVs follow', () => {
  for (const [address, port] of [
    ['192.0.2.77', 50_123],
    ['2001:db8::9', 1],
    ['::1', 65_535],
  ] as const) {
    for (const tlvs of [Buffer.alloc(0), Buffer.from('030004deadbeef', 'hex')]) {
      const bytes = proxyHeader({ address, port, tlvs });
      const fixed = head(bytes);
      assert.ok(fixed.ok && fixed.family !== undefined);
      assert.equal(fixed.command, 'proxy');
      assert.equal(fixedBytes + fixed.restBytes, bytes.length);
      assert.deepEqual(sourceIn(fixed.family, bytes.subarray(fixedBytes)), { address, port });
    }
  }
});

test('a balancer that speaks for itself needs no addresses', () => {
  for (const bytes of [
    proxyHeader({ command: 0x20, family: 0, addresses: Buffer.alloc(0) }),
    proxyHeader({ command: 0x20 }),
  ]) {
    const fixed = head(bytes);
    assert.ok(fixed.ok);
    assert.equal(fixed.command, 'local');
  }
});

const refusals: Readonly<Record<string, Buffer>> = {
  'the text of version 1': Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 50000 8883\r\n'),
  'a ClientHello': Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), Buffer.alloc(20)]),
  'another version': proxyHeader({ command: 0x11 }),
  'an unknown command': proxyHeader({ command: 0x22 }),
  'no family': proxyHeader({ family: 0x00 }),
  'UDP over IPv4': proxyHeader({ family: 0x12 }),
  'a unix socket': proxyHeader({ family: 0x31, addresses: Buffer.alloc(216) }),
  'addresses that are cut off': proxyHeader({ addresses: Buffer.alloc(11) }),
  'IPv6 addresses that are cut off': proxyHeader({ family: 0x21, addresses: Buffer.alloc(35) }),
  'a header of more than 552 bytes': proxyHeader({ tlvs: Buffer.alloc(525) }),
};

for (const [what, bytes] of Object.entries(refusals)) {
  test(`refused: ${what}`, () => {
    assert.equal(head(bytes).ok, false);
  });
}

test('a header of 552 bytes is the longest', () => {
  assert.equal(head(proxyHeader({ tlvs: Buffer.alloc(524) })).ok, true);
});

test('no sixteen bytes are anything but a header or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.boolean(), (random, signed) => {
      const bytes = Buffer.from(random);
      if (signed) proxyHeader({}).copy(bytes, 0, 0, 12);
      const fixed = readFixedPart(bytes);
      if (!fixed.ok) return;
      assert.ok(signed && fixed.restBytes <= 536);
      assert.ok(fixed.command === 'local' || fixed.restBytes >= (fixed.family === 0x21 ? 36 : 12));
    }),
    { numRuns: 2_000 },
  );
});
