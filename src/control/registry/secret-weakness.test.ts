import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { secretWeakness } from './secret-weakness.ts';

const refused: readonly (readonly [string, Buffer, RegExp])[] = [
  ['nothing', Buffer.alloc(0), /0 bytes, and needs 16/],
  ['15 bytes', randomBytes(15), /15 bytes, and needs 16/],
  ['65 bytes', randomBytes(65), /65 bytes: 64 at most/],
  ['one byte over and over', Buffer.alloc(32, 7), /too few different/],
  ['seven different bytes', Buffer.from('abcdefgfedcbabcdefgb'), /too few different/],
  ['eight bytes twice', Buffer.from('0f1e2d3c4b5a69780f1e2d3c4b5a6978', 'hex'), /repeats itself/],
  ['two and a half times', Buffer.from('k9#Qw7!zRk9#Qw7!zRk9#Q'), /repeats itself/],
  ['counting', Buffer.from(Array.from({ length: 32 }, (_, at) => at)), /only counts/],
  [
    'counting down by three',
    Buffer.from(Array.from({ length: 32 }, (_, at) => 512 - at * 3)),
    /counts/,
  ],
  ['digits', Buffer.from('4915773120984638'), /guessed/],
  ['small letters', Buffer.from('correcthorsebatt'), /guessed/],
  [
    'the example of RFC 7515',
    Buffer.from(
      'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
      'base64url',
    ),
    /everybody/,
  ],
  [
    'the same as text',
    Buffer.from(
      'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
    ),
    /everybody/,
  ],
  ['what jwt.io shows', Buffer.from('your-256-bit-secret'), /everybody/],
];
for (const [what, secret, reason] of refused) {
  test(`refused: ${what}`, () => {
    const weakness = secretWeakness(secret);
    assert.match(weakness ?? 'accepted', reason);
    if (secret.length > 0) assert.ok(!weakness?.includes(secret.toString('latin1')));
  });
}

for (const [what, secret] of [
  ['a long number', Buffer.from('4915773120984638771209546')],
  ['hex as text', Buffer.from('9f86d081884c7d659a2feaa0c55ad015')],
  ['letters and digits', Buffer.from('V7kQ2mX9pL4rT8sW')],
] as const) {
  test(`accepted: ${what}`, () => assert.equal(secretWeakness(secret), undefined));
}

test('what a generator makes is accepted, of every length', () => {
  fc.assert(
    fc.property(fc.integer({ min: 16, max: 64 }), (length) => {
      assert.equal(secretWeakness(randomBytes(length)), undefined);
    }),
  );
});
