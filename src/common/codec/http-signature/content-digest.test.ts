import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { contentDigestHolds } from './content-digest.ts';

/** RFC 9530 appendix B.1 has this body, with a line feed. */
const body = Buffer.from('{"hello": "world"}\n');
const digest = ':RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:';
const sha512 = `:${hash('sha512', Buffer.from('other'), 'base64')}:`;

const cases: readonly (readonly [string, string, boolean])[] = [
  ['the digest of the body', `sha-256=${digest}`, true],
  ['others beside it', `sha-512=${sha512}, sha-256=${digest}`, true],
  ['another body', `sha-256=:${hash('sha256', 'other', 'base64')}:`, false],
  ['another algorithm alone', `sha-512=${sha512}`, false],
  [
    'a part of it',
    `sha-256=:${hash('sha256', body, 'buffer').subarray(0, 16).toString('base64')}:`,
    false,
  ],
  ['nothing', '', false],
  ['no bytes', 'sha-256=?1', false],
  ['a list', `sha-256=(${digest})`, false],
  ['twice', `sha-256=${digest}, sha-256=${digest}`, false],
  ['upper case', `SHA-256=${digest}`, false],
  ['the old form', digest.slice(1, -1), false],
];

for (const [what, field, holds] of cases) {
  void test(`${what}: ${holds ? 'holds' : 'does not hold'}`, () => {
    assert.equal(contentDigestHolds(field, body), holds);
  });
}
