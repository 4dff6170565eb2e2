import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import type { Config } from './config.ts';
import { parseConfig } from './parse-config.ts';

const parse = (configText: string): Config =>
  parseConfig({ configPath: '/etc/gw.yaml', configText, files: {} });

test('certificates name the status listener under the name that devices use', () => {
  for (const [text, url] of [
    ['serverNames: [gw.example, localhost]', 'http://gw.example:8080'],
    ['serverNames: [192.0.2.7]', 'http://192.0.2.7:8080'],
    ["serverNames: ['2001:db8::7']", 'http://[2001:db8::7]:8080'],
    ['{ serverNames: [gw.example], listeners: { status: { port: 80 } } }', 'http://gw.example'],
    ['{ ca: { statusUrl: "http://pki.example/gw" } }', 'http://pki.example/gw'],
    [
      '{ serverNames: [gw.example], ca: { statusUrl: "http://10.0.0.7:81" } }',
      'http://10.0.0.7:81',
    ],
    ['serverNames: [localhost, gw.example]', 'http://gw.example:8080'],
    // What only this machine or nobody finds is not written into certificates.
    ['{}', undefined],
    ['serverNames: [127.0.0.1]', undefined],
    ["serverNames: ['::1']", undefined],
    ["serverNames: ['*.gw.example']", undefined],
    ['{ serverNames: [gw.example], listeners: { status: false } }', undefined],
    ['{ serverNames: [gw.example], listeners: { status: { port: 0 } } }', undefined],
    ['{ serverNames: [gw.example], ca: { statusUrl: false } }', undefined],
  ] as const) {
    assert.equal(parse(text).ca.statusUrl, url, text);
  }
});

test('times of lists and answers that cannot work are refused, by key', () => {
  for (const [ca, key] of [
    ['{ crl: { interval: 1h, validity: 119m } }', 'ca.crl.validity'],
    ['{ crl: { interval: 4h } }', 'ca.crl.deltaValidity'],
    ['{ crl: { interval: 1s } }', 'ca.crl.interval'],
    ['{ ocsp: { validity: 4m } }', 'ca.ocsp.validity'],
    ['{ ocsp: { stapleValidity: 4m } }', 'ca.ocsp.stapleValidity'],
    ['{ statusUrl: true }', 'ca.statusUrl'],
    ['{ statusUrl: "https://pki.example" }', 'ca.statusUrl'],
    ['{ statusUrl: "http://pki.example/" }', 'ca.statusUrl'],
    ['{ statusUrl: "http://u:p@pki.example" }', 'ca.statusUrl'],
    ['{ statusUrl: "http://pki.example/?a" }', 'ca.statusUrl'],
    ['{ statusUrl: "http://pki.example:99999" }', 'ca.statusUrl'],
  ] as const) {
    assert.throws(
      () => parse(`ca: ${ca}`),
      (thrown) =>
        thrown instanceof SallyportError &&
        thrown.code === 'invalid-config' &&
        thrown.message.includes(key),
      ca,
    );
  }
  const { crl, ocsp } = parse('ca: { crl: { interval: 1m, validity: 1h, deltaValidity: 2m } }').ca;
  assert.deepEqual(
    { ...crl },
    { intervalMs: 60_000, validityMs: 3_600_000, deltaValidityMs: 120_000 },
  );
  assert.equal(ocsp.validityMs, 3_600_000);
});
