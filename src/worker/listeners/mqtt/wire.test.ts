import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyCodes } from '../../../common/base/errors.ts';
import {
  connackCodes,
  disconnectCodes,
  pubackCodes,
  subackCodes,
} from '../../../common/codec/mqtt/reason-code-tables.ts';
import { asConnackCode, codeOfViolation, ReturnCode, wireReasons } from './wire.ts';

for (const code of denyCodes) {
  test(`${code}: every word for it is one that its packet may carry, and none says success`, () => {
    const { connack5, connack4, puback5, suback5, disconnect5 } = wireReasons[code];
    for (const [value, table] of [
      [connack5, connackCodes],
      [puback5 ?? 0x80, pubackCodes],
      [suback5, subackCodes],
      [disconnect5, disconnectCodes],
    ] as const) {
      assert.ok(table.server.has(value), `0x${value.toString(16)} [${table.statement}]`);
      assert.ok(value >= 0x80, `0x${value.toString(16)} is no refusal`);
    }
    assert.ok(connack4 > ReturnCode.accepted && connack4 <= ReturnCode.notAuthorized);
  });
}

test('a violation before CONNACK is answered by a code that CONNACK may carry', () => {
  for (let code = 0x80; code <= 0xff; code += 1) {
    assert.ok(connackCodes.server.has(asConnackCode(code)), `0x${code.toString(16)}`);
  }
  assert.equal(asConnackCode(0x95), 0x95);
  // Topic Filter invalid is for SUBACK.
  assert.equal(asConnackCode(0x8f), 0x82);
});

test('the log tells what is too large and what is too much from what is malformed', () => {
  assert.equal(codeOfViolation(0x95), 'too-large');
  assert.equal(codeOfViolation(0x97), 'quota');
  assert.equal(codeOfViolation(0x93), 'quota');
  assert.equal(codeOfViolation(0x81), 'malformed');
});
