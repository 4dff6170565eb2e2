import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownUrl, tokenListener } from './own-url.ts';

test('the gateway is called after its first name and the port, once that is known', () => {
  assert.equal(ownUrl(['gateway.example', 'other'], 8443), 'https://gateway.example:8443');
  assert.equal(ownUrl(['gateway.example'], 443), 'https://gateway.example');
  assert.equal(ownUrl(['2001:db8::1'], 8443), 'https://[2001:db8::1]:8443');
  assert.equal(ownUrl(['gateway.example'], 0), undefined);
  assert.equal(ownUrl(['gateway.example'], undefined), undefined);
});

test('a token endpoint is found also where devices without a certificate have the only listener', () => {
  const [https, httpsSigned] = [8443, 8444].map((port) => ({ port }));
  assert.ok(https !== undefined && httpsSigned !== undefined);
  assert.equal(tokenListener({ https, httpsSigned })?.port, 8443);
  assert.equal(tokenListener({ https, httpsSigned: false })?.name, 'https');
  assert.deepEqual(tokenListener({ https: false, httpsSigned }), {
    name: 'httpsSigned',
    port: 8444,
  });
  assert.equal(tokenListener({ https: false, httpsSigned: false }), undefined);
});
