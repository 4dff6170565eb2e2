import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pkcs11Config } from './config.ts';
import { parseConfig } from './parse-config.ts';

function parse(pkcs11: string): Pkcs11Config | undefined {
  const configText = `ca:\n  pkcs11: ${pkcs11}\n`;
  return parseConfig({ configPath: '/etc/sallyport/sallyport.yaml', configText, files: {} }).ca
    .pkcs11;
}

test('without a token the CA keys are files', () => {
  assert.equal(parse('{ module: m.so, token: t, pin: { file: p } }')?.token, 't');
  assert.equal(
    parseConfig({ configPath: undefined, configText: '', files: {} }).ca.pkcs11,
    undefined,
  );
});

test('what was left out has its default, and paths are relative to the configuration', () => {
  assert.deepEqual(parse('{ module: lib/hsm.so, token: ca, pin: { file: hsm.pin } }'), {
    module: '/etc/sallyport/lib/hsm.so',
    token: 'ca',
    pin: { file: '/etc/sallyport/hsm.pin' },
    prefix: 'sallyport',
    sessions: 4,
    waiting: 1_000,
    timeoutMs: 5_000,
    retryMs: 1_000,
    environment: [],
  });
});

test('a kind of key that tokens do not make is refused beside one', () => {
  const configText =
    'ca: { keyKind: ML-DSA-65, pkcs11: { module: m, token: t, pin: { file: p } } }\n';
  const bundle = { configPath: '/etc/sallyport.yaml', configText, files: {} };
  assert.throws(() => parseConfig(bundle), /ca\.keyKind.*P-256 or P-384/u);
  const other = { ...bundle, configText: configText.replace('ML-DSA-65', 'P-384') };
  assert.equal(parseConfig(other).ca.keyKind, 'P-384');
});

for (const [what, pkcs11, message] of [
  ['no PIN', '{ module: m.so, token: t }', /lacks the key "pin"|pin/u],
  ['a PIN that is written out', '{ module: m.so, token: t, pin: "1234" }', /pin/u],
  ['a blank label', '{ module: m.so, token: "  ", pin: { file: p } }', /token.*not a label/u],
  [
    'a longer label than a token has',
    `{ module: m.so, token: ${'x'.repeat(33)}, pin: { file: p } }`,
    /token/u,
  ],
  ['no session', '{ module: m.so, token: t, pin: { file: p }, sessions: 0 }', /sessions/u],
  [
    'a library from elsewhere',
    '{ module: "https://h/m.so", token: t, pin: { file: p } }',
    /module.*URL/u,
  ],
  [
    'flags for Node',
    '{ module: m.so, token: t, pin: { file: p }, environment: [NODE_OPTIONS] }',
    /control itself would heed/u,
  ],
  [
    'code before the library',
    '{ module: m.so, token: t, pin: { file: p }, environment: [LD_PRELOAD] }',
    /control itself would heed/u,
  ],
  [
    'a value for a variable',
    '{ module: m.so, token: t, pin: { file: p }, environment: ["A=b"] }',
    /not the name of a variable/u,
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(() => parse(pkcs11), message);
  });
}
