import assert from 'node:assert/strict';
import { createPublicKey, sign, verify } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { StoppedClock } from '../../../test/harness/issuance.ts';
import { MasterKey } from '../store/master-key.ts';
import { migrations } from '../store/migrations.ts';
import { SigningKeys } from './signing-keys.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const rotationMs = 7 * dayMs;
const keptMs = 2 * hourMs;

class Bench {
  readonly database = new DatabaseSync(':memory:');
  readonly clock = new StoppedClock();
  rotationMs = rotationMs;
  readonly errors: string[] = [];
  masterKey = new MasterKey(Buffer.alloc(32, 1));

  constructor() {
    for (const step of migrations) this.database.exec(step);
  }

  /** As after a restart. */
  open(purpose: 'access-tokens' | 'identity-assertions' = 'access-tokens'): SigningKeys {
    const { database, clock, masterKey } = this;
    return new SigningKeys({
      database,
      clock,
      masterKey,
      logger: { error: (_fields, message) => void this.errors.push(message) },
      purpose,
      rotationMs: () => this.rotationMs,
      keptMs,
    });
  }
}

const kidsOf = (keys: SigningKeys): (string | undefined)[] => keys.publicKeys.map(({ kid }) => kid);

test('the first key is there at once, is what its public half says, and survives a restart', () => {
  const bench = new Bench();
  const keys = bench.open();
  assert.throws(() => keys.current, { code: 'no-key' });
  assert.equal(keys.tend(), true);
  assert.equal(keys.tend(), false);
  const { kid, privateKey } = keys.current;
  const [jwk] = keys.publicKeys;
  assert.ok(jwk !== undefined);
  assert.deepEqual(Object.keys(jwk).toSorted(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  const data = Buffer.from('signed');
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
  assert.ok(verify('sha256', data, publicKey, sign('sha256', data, privateKey)));
  const again = bench.open();
  again.tend();
  assert.equal(again.current.kid, kid);
  assert.deepEqual(again.publicKeys, keys.publicKeys);
});

test('a new key is published a day before it signs; the old one stays for as long as what it signed', () => {
  const bench = new Bench();
  const keys = bench.open();
  keys.tend();
  const first = keys.current.kid;
  bench.clock.wallMs += rotationMs - dayMs - 1;
  assert.equal(keys.tend(), false);
  bench.clock.wallMs += 1;
  assert.equal(keys.tend(), true);
  const [, second] = kidsOf(keys);
  assert.deepEqual(kidsOf(keys), [first, second]);
  assert.equal(keys.current.kid, first);
  bench.clock.wallMs += dayMs - 1;
  assert.equal(keys.tend(), false);
  assert.equal(keys.current.kid, first);
  bench.clock.wallMs += 1;
  assert.equal(keys.tend(), true, 'another one signs');
  assert.equal(keys.current.kid, second);
  assert.deepEqual(kidsOf(keys), [first, second]);
  bench.clock.wallMs += keptMs - 1;
  assert.equal(keys.tend(), false);
  bench.clock.wallMs += 1;
  assert.equal(keys.tend(), true);
  assert.deepEqual(kidsOf(keys), [second]);
  assert.deepEqual(kidsOf(bench.open()), [second], 'forgotten for good');
});

test('a gateway that was off for a year still announces before it signs with another key', () => {
  const bench = new Bench();
  bench.open().tend();
  bench.clock.wallMs += 365 * dayMs;
  const keys = bench.open();
  const first = keys.publicKeys[0]?.['kid'];
  keys.tend();
  assert.equal(keys.current.kid, first);
  assert.equal(keys.publicKeys.length, 2);
  bench.clock.wallMs += dayMs;
  keys.tend();
  assert.notEqual(keys.current.kid, first);
});

test('a short life is announced for a quarter of it', () => {
  const bench = new Bench();
  bench.rotationMs = hourMs;
  const keys = bench.open();
  keys.tend();
  bench.clock.wallMs += 0.75 * hourMs;
  keys.tend();
  assert.equal(keys.publicKeys.length, 2);
});

test('a clock that goes back leaves a key that signs, and makes none', () => {
  const bench = new Bench();
  const keys = bench.open();
  keys.tend();
  const { kid } = keys.current;
  bench.clock.wallMs -= 10 * dayMs;
  assert.equal(keys.tend(), false);
  assert.equal(keys.current.kid, kid);
});

test('keys that were made while the clock was years ahead are replaced as any other', () => {
  for (const stayedMs of [0, 60 * dayMs]) {
    const bench = new Bench();
    const keys = bench.open();
    keys.tend();
    const rightMs = bench.clock.wallMs;
    bench.clock.wallMs += 3_650 * dayMs;
    keys.tend();
    for (let passed = 0; passed < stayedMs; passed += dayMs) {
      bench.clock.wallMs += dayMs;
      keys.tend();
    }
    bench.clock.wallMs = rightMs + hourMs;
    keys.tend();
    const first = keys.current.kid;
    const again = bench.open();
    const signers = new Set<string>();
    for (let passed = 0; passed < 30 * dayMs; passed += 6 * hourMs) {
      const announced = kidsOf(again);
      bench.clock.wallMs += 6 * hourMs;
      again.tend();
      assert.ok(announced.includes(again.current.kid), 'published before it signs');
      assert.ok(again.publicKeys.length <= 3);
      signers.add(again.current.kid);
    }
    assert.ok(signers.has(first));
    assert.ok(signers.size >= 4, `${signers.size} keys in a month of weeks`);
  }
});

test('at rest a key is sealed, for its purpose and its name', () => {
  const bench = new Bench();
  const keys = bench.open();
  keys.tend();
  const row = bench.database.prepare('SELECT * FROM signing_keys').get();
  const sealed = row?.['sealed'];
  assert.ok(sealed instanceof Uint8Array);
  const { d = '' } = keys.current.privateKey.export({ format: 'jwk' });
  assert.ok(!Buffer.from(sealed).includes(Buffer.from(d, 'base64url')));
  bench.masterKey = new MasterKey(Buffer.alloc(32, 2));
  assert.deepEqual(bench.open().publicKeys, []);
  bench.masterKey = new MasterKey(Buffer.alloc(32, 1));
  assert.deepEqual(bench.open('identity-assertions').publicKeys, [], 'each purpose has its own');
  bench.database.exec("UPDATE signing_keys SET purpose = 'identity-assertions'");
  assert.deepEqual(bench.open('identity-assertions').publicKeys, []);
  assert.equal(bench.errors.length, 2);
});

test('a key that is spoilt is replaced: what it signs is not worth a gateway that does not start', () => {
  const bench = new Bench();
  bench.open().tend();
  bench.database.exec("UPDATE signing_keys SET sealed = x'00'");
  const keys = bench.open();
  keys.tend();
  const { kid } = keys.current;
  assert.deepEqual(kidsOf(keys), [kid]);
  assert.match(bench.errors.join(), /unreadable/);
  assert.equal(bench.open().current.kid, kid);
});
