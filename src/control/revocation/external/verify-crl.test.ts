import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { issueLeaf, makeAuthority, makeIntermediate } from '../../../../test/harness/openssl.ts';
import type { Authority } from '../../../../test/harness/openssl.ts';
import { revocationList } from '../../../../test/harness/revocation-list.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { readCrlHead } from './read-crl.ts';
import { crlAuthorities, verifyCrl } from './verify-crl.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const root = makeAuthority(folder.at('root'), 'Root');
const below = makeIntermediate(root, folder.at('below'), 'Below');
/** It may sign certificates and no lists. */
const noLists = issueLeaf(root, folder.at('no-lists'), 'no-lists', '', {
  subject: '/CN=No Lists',
  extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign'],
});
/** The same name, another key. */
const successor = makeIntermediate(root, folder.at('successor'), 'Below');

const pemOf = (...authorities: readonly Pick<Authority, 'crt'>[]): string =>
  authorities.map(({ crt }) => readFileSync(crt, 'utf8')).join('\n');

const signerOf = async (list: Buffer, ...anchor: readonly Pick<Authority, 'crt'>[]) =>
  verifyCrl(readCrlHead(list), crlAuthorities(pemOf(...anchor)));

test('the authority is found by its key among those of one name', async () => {
  const [, expected] = crlAuthorities(pemOf(below, successor));
  const found = await signerOf(revocationList(successor), below, successor);
  assert.equal(found.facts.spkiSha256, expected?.facts.spkiSha256);
});

test('an authority that may not sign lists has signed none', async () => {
  await assert.rejects(signerOf(revocationList(noLists), noLists), { code: 'integrity' });
  assert.ok(await signerOf(revocationList(below), below));
});

test('a list that names another key than the one that signed it is refused', async () => {
  const list = revocationList(below, { authorityKeyId: '0102' });
  await assert.rejects(signerOf(list, below), { code: 'integrity' });
});

test('clients are signed by those authorities that sign no other one of the anchor', () => {
  const signs = (...anchor: readonly Authority[]): boolean[] =>
    crlAuthorities(pemOf(...anchor)).map(({ signsClients }) => signsClients);
  assert.deepEqual(signs(root), [true]);
  assert.deepEqual(signs(root, below), [false, true]);
  assert.deepEqual(signs(below, root, below), [true, false], 'one that is there twice is one');
});
