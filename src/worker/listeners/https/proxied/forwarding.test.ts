import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../../../common/base/principal.ts';
import { Forwarding } from './forwarding.ts';

const hosts = ['gateway.example', '*.fleet.example', '2001:db8::1'];

function of(address: string): Forwarding {
  const subject = { name: principalName('operator', 'ann'), kind: 'operator', id: 'ann' } as const;
  return new Forwarding({ subject, certificate: undefined, address });
}

function told(forwarding: Forwarding, host: string): Record<string, string> {
  const { lines } = forwarding.headers(host, hosts);
  const fields: Record<string, string> = {};
  for (let i = 0; i + 1 < lines.length; i += 2) fields[lines[i] ?? ''] = lines[i + 1] ?? '';
  return fields;
}

test('who has shown no certificate is told by name, and by nothing that a certificate says', () => {
  assert.deepEqual(told(of('192.0.2.7'), 'gateway.example'), {
    'X-Principal': 'operator/ann',
    'X-Forwarded-For': '192.0.2.7',
    'X-Forwarded-Proto': 'https',
    'X-Forwarded-Host': 'gateway.example',
    Via: '1.1 sallyport',
  });
});

test('an address of IPv4 is one, also on a socket of both versions', () => {
  assert.equal(told(of('::ffff:192.0.2.7'), 'x')['X-Forwarded-For'], '192.0.2.7');
  assert.equal(told(of('2001:db8::7'), 'x')['X-Forwarded-For'], '2001:db8::7');
});

test('a host is told when it is ours, request by request', () => {
  const forwarding = of('192.0.2.7');
  for (const [host, isOurs] of [
    ['gateway.example', true],
    ['GATEWAY.example:8443', true],
    ['a.fleet.example', true],
    ['[2001:db8::1]:8443', true],
    ['a.b.fleet.example', false],
    ['fleet.example', false],
    ['gateway.example.evil', false],
    ['evil', false],
    ['gateway.example', true],
  ] as const) {
    assert.equal(told(forwarding, host)['X-Forwarded-Host'], isOurs ? host : undefined, host);
  }
});
