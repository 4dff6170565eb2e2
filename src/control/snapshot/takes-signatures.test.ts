import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../common/config/parse-config.ts';
import { takesSignatures } from './takes-signatures.ts';

const upstream = 'upstream: http://127.0.0.1:9000';
for (const [configText, expected] of [
  ['logs: { level: info }', false],
  ['listeners: { httpsSigned: {} }', true],
  ['listeners: { mqttsSigned: { port: 8884 } }', true],
  [
    'routes: { telemetry: { match: devices/+/telemetry, authenticate: [ certificate, device-jwt ] } }',
    true,
  ],
  [
    'routes: { telemetry: { match: devices/+/telemetry, integrity: { accept: [ http-signature ] } } }',
    true,
  ],
  ['routes: { telemetry: { match: devices/+/telemetry, integrity: { accept: [ hmac ] } } }', false],
  [`routes: { backend: { path: /backend/, ${upstream} } }`, false],
  [`routes: { backend: { path: /backend/, ${upstream}, authenticate: [ certificate ] } }`, false],
  [
    `routes: { backend: { path: /backend/, ${upstream}, authenticate: [ signature ], integrity: { accept: [ hmac ] } } }`,
    false,
  ],
  [
    `routes: { backend: { path: /backend/, ${upstream}, integrity: { accept: [ hmac, http-signature ] } } }`,
    true,
  ],
] as const) {
  test(`${configText}: ${expected}`, () => {
    const config = parseConfig({ configPath: 'sallyport.yaml', configText, files: {} });
    assert.equal(takesSignatures(config), expected);
  });
}
