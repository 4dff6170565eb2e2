import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configWarnings } from './config-warnings.ts';
import { parseConfig } from './parse-config.ts';

function warnings(url: string): readonly string[] {
  const configText = `routes: { telemetry: { to: [ { http: "${url}" } ] } }\n`;
  return configWarnings(parseConfig({ configPath: '/etc/s.yaml', configText, files: {} }));
}

test('plain http to another machine is named, without the query of its URL', () => {
  for (const url of [
    'http://ingest.example/?k=hunter2',
    'http://10.0.0.1:9000/',
    'http://127.0.0.1.example/',
    'http://[fe80::1]/',
    'http://0.0.0.0/',
  ]) {
    const [warning, ...more] = warnings(url);
    assert.match(warning ?? '', /^the backend telemetry\/backend is sent to over plain http/u, url);
    assert.ok(!warning?.includes('hunter2'));
    assert.deepEqual(more, []);
  }
});

test('https, and plain http on this machine, are not', () => {
  for (const url of [
    'https://ingest.example/',
    'http://localhost:9000/',
    'http://127.0.0.1:9000/',
    'http://127.8.9.10/',
    'http://[::1]:9000/',
    'http://2130706433/',
  ]) {
    assert.deepEqual(warnings(url), [], url);
  }
});

function warningsOf(configText: string): readonly string[] {
  return configWarnings(parseConfig({ configPath: '/etc/s.yaml', configText, files: {} }));
}

const cases: readonly (readonly [string, string, RegExp | undefined])[] = [
  [
    'requests over plain http',
    'routes: { b: { path: /b/, upstream: http://b.example } }',
    /^the requests of the route b are sent on over plain http/u,
  ],
  [
    'requests on this machine',
    'routes: { b: { path: /b/, upstream: "http://127.0.0.1:1" } }',
    undefined,
  ],
  ['requests over TLS', 'routes: { b: { path: /b/, upstream: https://b.example } }', undefined],
  [
    'tokens of whoever has them',
    'tokens: { issuers: [ { name: a, issuer: i, audience: g, jwks: https://h/j, binding: bearer } ] }',
    /^tokens of the issuer a are taken from whoever has them/u,
  ],
  [
    'bound tokens',
    'tokens: { issuers: [ { name: a, issuer: i, audience: g, jwks: https://h/j } ] }',
    undefined,
  ],
  [
    'a signature of the body alone',
    'routes: { telemetry: { integrity: { accept: [ body-hmac ] } } }',
    /^the route telemetry takes body-hmac/u,
  ],
  [
    'a signed WebSocket',
    'routes: { b: { path: /b/, upstream: https://b, webSocket: true, integrity: {} } }',
    /^the route b speaks WebSocket/u,
  ],
  [
    'a listener that leads nowhere',
    'listeners: { httpsSigned: {} }',
    /^nothing is open on listeners\.httpsSigned/u,
  ],
  [
    'one for signed messages',
    'listeners: { httpsSigned: {} }\nroutes: { telemetry: { integrity: {} } }',
    undefined,
  ],
  [
    'a listener for nobody',
    'listeners: { mqttsSigned: {} }\nroutes: { telemetry: { integrity: {} } }',
    /^nothing is open on listeners\.mqttsSigned/u,
  ],
  [
    'one for devices that sign',
    'listeners: { mqttsSigned: {} }\nroutes: { telemetry: { authenticate: [ device-jwt ] } }',
    undefined,
  ],
];

for (const [name, text, expected] of cases) {
  test(`${expected === undefined ? 'nothing is said of' : 'a warning tells of'} ${name}`, () => {
    const found = warningsOf(`${text}\n`);
    assert.equal(found.length, expected === undefined ? 0 : 1, found.join('\n'));
    if (expected !== undefined) assert.match(found[0] ?? '', expected);
  });
}
