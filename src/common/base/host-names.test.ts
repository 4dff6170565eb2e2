import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAmongHosts } from './host-names.ts';

const names = ['gateway.example', '127.0.0.1', '::1', '*.site.example'];

for (const [host, expected] of [
  ['gateway.example', true],
  ['127.0.0.1', true],
  ['::1', true],
  ['east.site.example', true],
  ['*.site.example', true],
  ['site.example', false],
  ['a.b.site.example', false],
  ['.site.example', false],
  ['xsite.example', false],
  ['gateway.example.evil', false],
  ['evil.gateway.example', false],
  ['', false],
  ['.', false],
] as const) {
  test(`"${host}" is ${expected ? '' : 'not '}one of them`, () => {
    assert.equal(isAmongHosts(host, names), expected);
  });
}
