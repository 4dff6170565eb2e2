import assert from 'node:assert/strict';
import { test } from 'node:test';
import { messageOf } from '../base/errors.ts';
import { parseConfig } from './parse-config.ts';

const pem = '-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n';
const files = {
  'ca.pem': pem,
  'key.pem': `${pem}-----BEGIN EC PRIVATE KEY-----\n`,
  'x.txt': 'hello',
};

function parse(enrolment: string) {
  const configText = `enrolment: ${enrolment}\n`;
  return parseConfig({ configPath: '/etc/sallyport/sallyport.yaml', configText, files }).enrolment;
}

test('nothing waits for an operator and no manufacturer opens anything unless it is said', () => {
  const { approval, manufacturers, tokenFailures } = parse('{}');
  assert.deepEqual(
    { approval, manufacturers, tokenFailures },
    {
      approval: 'none',
      manufacturers: [],
      tokenFailures: 10,
    },
  );
});

test('times and sizes have their units', () => {
  const { approval, approvalRetryMs, requestsKeptMs, csrBytes } = parse(
    '{ approval: all, approvalRetry: 10s, requestsKept: 2d, csrBytes: 4KiB }',
  );
  assert.deepEqual(
    [approval, approvalRetryMs, requestsKeptMs, csrBytes],
    ['all', 10_000, 172_800_000, 4_096],
  );
});

test('a manufacturer carries its certificates, and its id is the serial number unless it is said', () => {
  const [acme] = parse(
    '{ manufacturers: [ { name: acme, file: ca.pem, prefix: acme- } ] }',
  ).manufacturers;
  assert.deepEqual(
    { ...acme },
    {
      name: 'acme',
      file: 'ca.pem',
      pem,
      from: 'serial-number',
      prefix: 'acme-',
      role: 'device',
    },
  );
});

test('manufacturers that would be mixed up, have no certificate or give no role are refused', () => {
  for (const [list, message] of [
    ['{ name: internal, file: ca.pem }', /"internal" is already taken/u],
    ['{ name: a, file: ca.pem }, { name: a, file: ca.pem }', /"a" is already taken/u],
    ['{ name: a, file: ca.pem, role: none }', /is not a role/u],
    ['{ name: a, file: ca.pem, role: constructor }', /is not a role/u],
    ['{ name: a, file: ca.pem, prefix: "a/" }', /cannot begin an id/u],
    ['{ name: a, file: key.pem }', /private key/u],
    ['{ name: a, file: x.txt }', /without a PEM certificate/u],
    ['{ name: a, file: nowhere.pem }', /was not read/u],
    ['{ name: a }', /lacks the key "file"/u],
  ] as const) {
    assert.throws(
      () => parse(`{ manufacturers: [ ${list} ] }`),
      (thrown) => message.test(messageOf(thrown)),
      list,
    );
  }
  assert.throws(() => parse('{ approval: tokens }'), /approval/u);
});
