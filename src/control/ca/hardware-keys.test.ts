import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { HardwareKeys } from './hardware-keys.ts';
import type { KeyStore } from './key-store.ts';
import { softwareSigner } from './signer.ts';
import type { Signer } from './signer.ts';

/** A store in memory whose keys may be taken out or not. */
class FakeStore implements KeyStore {
  readonly keys = new Map<string, KeyObject>();
  readonly #gives: boolean;

  constructor(gives: boolean) {
    this.#gives = gives;
  }

  async has(name: string): Promise<boolean> {
    return this.keys.has(name);
  }

  async find(name: string): Promise<Signer | undefined> {
    const key = this.keys.get(name);
    return key === undefined ? undefined : softwareSigner(key);
  }

  async make(name: string): Promise<Signer> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.keys.set(name, privateKey);
    return softwareSigner(privateKey);
  }

  async remove(name: string): Promise<void> {
    this.keys.delete(name);
  }

  async exportKey(name: string): Promise<string> {
    const key = this.#gives ? this.keys.get(name) : undefined;
    if (key === undefined) throw new SallyportError('no-key', 'it stays');
    return key.export({ type: 'pkcs8', format: 'pem' });
  }
}

function setUp() {
  const token = new FakeStore(false);
  const sealed = new FakeStore(true);
  return { token, sealed, keys: new HardwareKeys(token, sealed) };
}

test('keys are made in the token and nowhere else', async () => {
  const { token, sealed, keys } = setUp();
  await keys.make('issuing-2');
  assert.deepEqual([[...token.keys.keys()], sealed.keys.size], [['issuing-2'], 0]);
});

test('a key that is still on disk signs until it is removed, and can be taken from there', async () => {
  const { sealed, keys } = setUp();
  const { spki } = await sealed.make('root');
  assert.deepEqual((await keys.find('root'))?.spki, spki);
  assert.equal(await keys.has('root'), true);
  assert.match(await keys.exportKey('root'), /BEGIN PRIVATE KEY/);
  await keys.remove('root');
  assert.equal(await keys.has('root'), false);
  assert.equal(await keys.find('root'), undefined);
});

test('where both have a key of one name the one in the token signs, and does not leave', async () => {
  const { token, sealed, keys } = setUp();
  await sealed.make('root');
  const { spki } = await token.make('root');
  assert.deepEqual((await keys.find('root'))?.spki, spki);
  await assert.rejects(keys.exportKey('root'), /it stays/);
  await keys.remove('root');
  assert.deepEqual([token.keys.size, sealed.keys.size], [0, 0]);
});
