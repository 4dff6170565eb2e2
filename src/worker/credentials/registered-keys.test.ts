import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { d1, d2, publicRegistration, SigningWorld } from './signing-world.ts';

const own: RegisteredKey = { type: 'derived', id: 'own', notAfter: undefined };

void test('a key is found by its name, with its principal and the live record', () => {
  const world = new SigningWorld();
  for (const [id, algorithm] of [
    ['own', 'hmac-sha256'],
    ['secret', 'hmac-sha256'],
    ['p256', 'ecdsa-p256-sha256'],
    ['p384', 'ecdsa-p384-sha384'],
    ['ed25519', 'ed25519'],
  ] as const) {
    const found = world.keys.keyOf(`d1.${id}`);
    assert.ok(typeof found === 'object');
    assert.equal(found.algorithm, algorithm);
    assert.equal(found.principal, d1);
    assert.equal(found.identity, world.identity(d1));
    assert.equal(found.id, id);
  }
});

void test('the derived keys of two devices are different ones', () => {
  const world = new SigningWorld();
  for (const name of [d1, d2]) world.register(name, own);
  const [one, other] = ['d1.own', 'd2.own'].map((name) => world.keys.keyOf(name));
  assert.ok(typeof one === 'object' && typeof other === 'object');
  assert.equal(one.key.equals(other.key), false);
});

void test('a key that was removed, replaced or has expired is not found any more', () => {
  const world = new SigningWorld();
  assert.ok(typeof world.keys.keyOf('d1.secret') === 'object');
  const live = world.identity(d1);
  assert.ok(live);
  live.keys = live.keys.filter(({ id }) => id !== 'secret');
  assert.equal(typeof world.keys.keyOf('d1.secret'), 'string');

  const replaced = Buffer.alloc(32, 9).toString('base64');
  live.keys = [{ type: 'secret', id: 'secret', secret: replaced, notAfter: world.now + 10 }];
  const found = world.keys.keyOf('d1.secret');
  assert.ok(typeof found === 'object');
  assert.equal(found.key.export().toString('base64'), replaced);

  world.now += 9;
  assert.ok(typeof world.keys.keyOf('d1.secret') === 'object');
  world.now += 1;
  assert.equal(world.keys.keyOf('d1.secret'), 'the key has expired');
  assert.deepEqual(world.keys.hmacKeysOf(d1), []);
});

void test('a key is made ready once', () => {
  const world = new SigningWorld();
  const key = () => {
    const found = world.keys.keyOf('d1.own');
    assert.ok(typeof found === 'object');
    return found.key;
  };
  assert.equal(key(), key());
});

void test('more keys than are kept ready are found all the same', () => {
  const world = new SigningWorld();
  const ids = Array.from({ length: 20_000 }, (_, i) => `n${i}`);
  for (const id of ids) world.register(principalName('device', id), { ...own });
  for (const id of [...ids, ...ids.slice(0, 10)]) {
    assert.ok(typeof world.keys.keyOf(`${id}.own`) === 'object');
  }
});

const unusable: readonly (readonly [string, RegisteredKey])[] = [
  ['a short secret', { ...own, type: 'secret', secret: Buffer.alloc(15).toString('base64') }],
  ['a long secret', { ...own, type: 'secret', secret: Buffer.alloc(65).toString('base64') }],
  ['no public key', { ...own, type: 'public', spki: 'AAAA' }],
  [
    'P-521',
    publicRegistration('own', generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey),
  ],
  [
    'RSA',
    publicRegistration('own', generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey),
  ],
  ['X25519', publicRegistration('own', generateKeyPairSync('x25519').publicKey)],
];

for (const [what, key] of unusable) {
  void test(`${what} verifies nothing`, () => {
    const world = new SigningWorld();
    world.register(d2, key);
    assert.equal(world.keys.keyOf('d2.own'), 'the key cannot be used');
    assert.deepEqual(world.keys.hmacKeysOf(d2), []);
  });
}

void test('names that name nothing', () => {
  const world = new SigningWorld();
  for (const name of [
    '',
    'd1',
    'd1.none',
    'd9.own',
    'service:d1.own',
    'operator:d1.own',
    'x'.repeat(9_999),
  ]) {
    assert.equal(typeof world.keys.keyOf(name), 'string', name);
  }
});
