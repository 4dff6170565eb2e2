import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from './errors.ts';
import { revocationReasonOf } from './revocation-reason.ts';

test('words that begin with a reason of the standard give it, in any spelling', () => {
  for (const [words, reason] of [
    ['keyCompromise', 'keyCompromise'],
    ['key-compromise', 'keyCompromise'],
    ['KEY_COMPROMISE: sold on a flea market', 'keyCompromise'],
    ['superseded', 'superseded'],
    ['Cessation-Of-Operation : site closed', 'cessationOfOperation'],
    ['affiliationchanged', 'affiliationChanged'],
    ['privilegeWithdrawn', 'privilegeWithdrawn'],
    ['unspecified', 'unspecified'],
  ] as const) {
    assert.equal(revocationReasonOf(words), reason, words);
  }
});

test('other words, or none, say nothing to others', () => {
  for (const words of [
    undefined,
    '',
    'stolen',
    'keyCompromise suspected',
    'superseded by d2',
    'x: keyCompromise',
    'constructor',
    '__proto__',
  ]) {
    assert.equal(revocationReasonOf(words), 'unspecified', String(words));
  }
});

test('reasons of the standard that cannot be are refused, with what can', () => {
  for (const words of [
    'certificateHold',
    'certificate-hold: for now',
    'cACompromise',
    'aACompromise',
    'removeFromCRL',
  ]) {
    assert.throws(
      () => revocationReasonOf(words),
      (thrown) =>
        thrown instanceof SallyportError &&
        thrown.code === 'usage' &&
        thrown.hint?.includes('keyCompromise') === true,
    );
  }
});
