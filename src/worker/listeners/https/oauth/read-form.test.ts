import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../../common/base/property-test-support.ts';
import { readForm } from './read-form.ts';

const read = (text: string): Record<string, string> | string => {
  const form = readForm(Buffer.from(text, 'latin1'));
  return form.ok ? { ...form.parameters } : form.problem;
};

test('what is known is read as it was written, the rest is left where it is', () => {
  assert.deepEqual(read('grant_type=client_credentials&client_id=ingest&scope=a+b%20c&x=y'), {
    grant_type: 'client_credentials',
    client_id: 'ingest',
    scope: 'a b c',
  });
  assert.deepEqual(read('grant_type=a%3Db%26c%2B'), { grant_type: 'a=b&c+' });
  assert.deepEqual(read('grant_type=a=b'), { grant_type: 'a=b' });
  assert.deepEqual(read('%67rant_type=x'), { grant_type: 'x' });
  assert.deepEqual(read('client_id=%C3%A4'), { client_id: 'ä' });
  assert.deepEqual(read('__proto__=x&constructor=y&toString=z'), {});
});

test('a parameter without a value is not there; it still counts as said', () => {
  assert.deepEqual(read('scope=&grant_type=x'), { grant_type: 'x' });
  assert.equal(read('scope=&scope=x'), 'a parameter that is there twice');
});

test('a secret is not passed on, only that there was one', () => {
  assert.deepEqual(read('client_secret=hunter2'), { client_secret: 'given' });
  assert.deepEqual(read('client_secret='), {});
});

const bad: Readonly<Record<string, string>> = {
  'nothing at all': '',
  'a name twice': 'grant_type=a&grant_type=a',
  'a name twice, once escaped': 'grant_type=a&grant%5Ftype=b',
  'a name that is not known twice': 'x=1&x=2',
  'no "="': 'grant_type',
  'no name': '=x',
  'an empty parameter': 'grant_type=x&&scope=y',
  'an end that is none': 'grant_type=x&',
  'half an escape': 'grant_type=%2',
  'an escape that is none': 'grant_type=%zz',
  'UTF-8 that is none': 'grant_type=%ff',
  'a surrogate': 'grant_type=%ED%A0%80',
  NUL: 'grant_type=a%00',
  'a line end': 'client_id=a%0D%0Ab',
  'a line end as it is': 'client_id=a\r\n',
  'a space': 'client_id=a b',
  'other than ASCII': 'client_id=\xe4',
  'too many': Array.from({ length: 33 }, (_each, n) => `p${n}=`).join('&'),
};

for (const [what, text] of Object.entries(bad)) {
  test(`refused: ${what}`, () => {
    assert.equal(typeof read(text), 'string');
  });
}

test('what a client writes in good order is read back', () => {
  const value = fc
    .string({ minLength: 1 })
    .filter((text) => !/\p{Cc}/u.test(text) && text.isWellFormed());
  fc.assert(
    fc.property(value, value, (scope, clientId) => {
      const written = new URLSearchParams({ scope, client_id: clientId }).toString();
      assert.deepEqual(read(written), { scope, client_id: clientId });
    }),
  );
});
