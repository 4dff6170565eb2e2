import assert from 'node:assert/strict';
import { readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { CrlFiles } from './crl-files.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

test('a list is kept for its owner only, whole, and replaced whole', async () => {
  const files = new CrlFiles(folder.at('kept'));
  assert.equal(await files.read('factory', 'ab', 10), undefined);
  await files.write('factory', 'ab', Buffer.alloc(3_000_000, 1));
  const second = Buffer.alloc(2_500_000, 2);
  // What a write that was cut off leaves behind.
  writeFileSync(folder.at('kept', 'factory.ab.crl.tmp'), 'half');
  await files.write('factory', 'ab', second);
  assert.deepEqual(await files.read('factory', 'ab', 3_000_000), second);
  assert.deepEqual(readdirSync(folder.at('kept')), ['factory.ab.crl']);
  assert.equal(statSync(folder.at('kept', 'factory.ab.crl')).mode & 0o777, 0o600);
  assert.equal(statSync(folder.at('kept')).mode & 0o777, 0o700);
});

test('one that is larger than is allowed now is none', async () => {
  const files = new CrlFiles(folder.at('large'));
  await files.write('factory', 'ab', Buffer.alloc(11));
  assert.equal(await files.read('factory', 'ab', 10), undefined);
});

test('nothing is written through a link that somebody else put there', async () => {
  const files = new CrlFiles(folder.at('links'));
  await files.write('factory', 'ab', Buffer.of(1));
  writeFileSync(folder.at('victim'), 'untouched');
  symlinkSync(folder.at('victim'), folder.at('links', 'factory.cd.crl.tmp'));
  await files.write('factory', 'cd', Buffer.of(2));
  assert.equal(statSync(folder.at('victim')).size, 'untouched'.length);
});

test('what belongs to no source any more goes', async () => {
  const files = new CrlFiles(folder.at('old'));
  await files.keepOnly([]);
  for (const source of ['ab', 'cd']) await files.write('factory', source, Buffer.of(1));
  await files.write('other', 'ab', Buffer.of(1));
  await files.keepOnly([{ anchor: 'factory', source: 'cd' }]);
  assert.deepEqual(readdirSync(folder.at('old')), ['factory.cd.crl']);
});
