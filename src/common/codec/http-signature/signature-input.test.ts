import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSignature, signatureBase } from './signature-input.ts';

const signature = 'sig=:AAEC:';

void test('a signature is read with all that its parameters say', () => {
  const input =
    'sig=( "@method"  "content-digest" );created=1;expires=2;nonce="n";alg="ed25519";keyid="k";tag="t"';
  assert.deepEqual(parseSignature(input, signature), {
    components: ['@method', 'content-digest'],
    created: 1,
    expires: 2,
    nonce: 'n',
    keyId: 'k',
    algorithm: 'ed25519',
    parametersText:
      '("@method" "content-digest");created=1;expires=2;nonce="n";alg="ed25519";keyid="k";tag="t"',
    signature: Buffer.from([0, 1, 2]),
  });
});

const refused: readonly (readonly [string, string, string])[] = [
  ['no dictionary', 'sig=(', signature],
  ['no dictionary of signatures', 'sig=()', 'sig=:'],
  ['no signature', '', ''],
  ['two signatures', 'sig=(), b=()', 'sig=:AAEC:, b=:AAEC:'],
  ['another input', 'sig=(), b=()', signature],
  ['another signature', 'sig=()', 'sig=:AAEC:, b=:AAEC:'],
  ['another label', 'b=()', signature],
  ['no list', 'sig=1', signature],
  ['no bytes', 'sig=()', 'sig="AAEC"'],
  ['a list of bytes', 'sig=()', 'sig=(:AAEC:)'],
  ['bytes with parameters', 'sig=()', 'sig=:AAEC:;x'],
  ['a component twice', 'sig=("a" "a")', signature],
  ['a component with a parameter', 'sig=("a";sf)', signature],
  ['a component of the request of a response', 'sig=("@method";req)', signature],
  ['a query parameter', 'sig=("@query-param";name="a")', signature],
  ['a component in upper case', 'sig=("Date")', signature],
  ['a component that is a token', 'sig=(date)', signature],
  ['a component that is empty', 'sig=("")', signature],
  ['a parameter of the prototype', 'sig=();constructor="x"', signature],
  ['a parameter that is unknown', 'sig=();x="x"', signature],
  ['created as a string', 'sig=();created="1"', signature],
  ['created as a decimal', 'sig=();created=1.5', signature],
  ['nonce as a token', 'sig=();nonce=n', signature],
  ['keyid without a value', 'sig=();keyid', signature],
  [
    '33 components',
    `sig=(${Array.from({ length: 33 }, (_, i) => `"h${i}"`).join(' ')})`,
    signature,
  ],
  ['an input that is too long', `sig=("a");nonce="${'n'.repeat(2_100)}"`, signature],
  ['a signature that is too long', 'sig=()', `sig=:${'AAEC'.repeat(200)}:`],
];

for (const [what, input, bytes] of refused) {
  void test(`refused: ${what}`, () => assert.equal(typeof parseSignature(input, bytes), 'string'));
}

void test('the base has a line for each component in its order, and the parameters', () => {
  const input = { components: ['b', '@method', 'empty'], parametersText: '("b")' };
  const values = new Map([
    ['@method', 'GET'],
    ['b', '2'],
    ['empty', ''],
  ]);
  assert.equal(
    signatureBase(input, (name) => values.get(name)),
    '"b": 2\n"@method": GET\n"empty": \n"@signature-params": ("b")',
  );
});

void test('a component that is missing, or could begin another line, has no base', () => {
  const input = { components: ['a'], parametersText: '("a")' };
  for (const value of [undefined, 'x\ny', 'x\ry', 'ü', '\0']) {
    assert.equal(
      signatureBase(input, () => value),
      undefined,
    );
  }
});
