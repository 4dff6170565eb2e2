import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { after, before, beforeEach, test } from 'node:test';
import { softHsm } from '../../../test/harness/soft-hsm.ts';
import type { SoftHsm } from '../../../test/harness/soft-hsm.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { systemClock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { oid, octetString, sequence } from '../../common/codec/der/writer.ts';
import { ck, loadCryptoki } from './cryptoki.ts';
import type { Attribute, Cryptoki, Handle } from './cryptoki.ts';
import { Pkcs11Keys } from './pkcs11-keys.ts';
import { Pkcs11Token } from './pkcs11-token.ts';
import type { Pkcs11TokenOptions } from './pkcs11-token.ts';
import type { Signer } from './signer.ts';

const start = process.cwd();
const folder = temporaryFolder();
let hsm: SoftHsm;
let library: Cryptoki;
let sample = 0;
let name = '';
const opened: Pkcs11Token[] = [];

before(async () => {
  process.chdir(folder.path);
  hsm = softHsm({ folder: folder.path });
  for (const label of ['twin', 'twin', 'other']) hsm.initToken(label);
  Object.assign(process.env, hsm.environment);
  library = await loadCryptoki(hsm.module);
});
after(() => {
  for (const each of opened) each.close();
  library.C_Finalize();
  process.chdir(start);
  folder[Symbol.dispose]();
});
beforeEach(() => {
  name = `key-${(sample += 1)}`;
});

function token(change: Partial<Pkcs11TokenOptions> = {}, from: Cryptoki = library): Pkcs11Token {
  const options = { label: hsm.token, pin: hsm.pin, sessions: 3, waiting: 500, timeoutMs: 30_000 };
  const made = new Pkcs11Token(from, { ...options, retryMs: 1, ...change }, systemClock);
  opened.push(made);
  return made;
}
const keys = (): Pkcs11Keys => new Pkcs11Keys(token(), 'sallyport');

const failsWith =
  (code: ErrorCode, text: RegExp) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code && text.test(thrown.message);

async function isSignedBy(signer: Signer, data: Buffer, digest = 'sha256'): Promise<boolean> {
  const key = createPublicKey({ key: signer.spki, format: 'der', type: 'spki' });
  return verify(digest, data, key, await signer.sign(data));
}

/** Runs `action` in a session of its own that may write. */
async function writing(action: (session: Handle) => void): Promise<void> {
  await token().use((_, { slot }) => {
    const session = library.C_OpenSession(slot, ck.CKF_SERIAL_SESSION | ck.CKF_RW_SESSION);
    action(session);
    library.C_CloseSession(session);
  });
}

/** Puts a key of our making under `sallyport/<name>`, as an operator with the vendor's tool might. */
async function importKey(
  curve: string,
  change: readonly Attribute[] = [],
  { privateKey } = generateKeyPairSync('ec', { namedCurve: curve }),
  { publicKey }: { readonly publicKey: KeyObject } = { publicKey: createPublicKey(privateKey) },
): Promise<void> {
  const { d = '' } = privateKey.export({ format: 'jwk' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const curveOid = curve === 'P-256' ? '1.2.840.10045.3.1.7' : '1.3.132.0.34';
  const point = Buffer.concat([
    Buffer.of(4),
    Buffer.from(x, 'base64url'),
    Buffer.from(y, 'base64url'),
  ]);
  const both: Attribute[] = [
    { type: ck.CKA_TOKEN, value: true },
    { type: ck.CKA_LABEL, value: `sallyport/${name}` },
    { type: ck.CKA_KEY_TYPE, value: ck.CKK_EC },
    { type: ck.CKA_EC_PARAMS, value: oid(curveOid) },
  ];
  await writing((session) => {
    create(session, [
      ...both,
      { type: ck.CKA_CLASS, value: ck.CKO_PUBLIC_KEY },
      { type: ck.CKA_EC_POINT, value: octetString(point) },
    ]);
    create(session, [
      ...both,
      { type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY },
      { type: ck.CKA_PRIVATE, value: true },
      { type: ck.CKA_SIGN, value: true },
      { type: 0x11, value: Buffer.from(d, 'base64url') },
      ...change,
    ]);
  });
}

function create(session: Handle, template: Attribute[]): void {
  // What the package has beyond the functions that the CA uses.
  const { C_CreateObject } = library as unknown as {
    readonly C_CreateObject: (session: Handle, template: Attribute[]) => Handle;
  };
  C_CreateObject.call(library, session, template);
}

const sensitive: readonly Attribute[] = [
  { type: ck.CKA_SENSITIVE, value: true },
  { type: ck.CKA_EXTRACTABLE, value: false },
];

test('a key is made in the token, signs there and is found again by its name', async () => {
  const made = await keys().make(name);
  assert.deepEqual(made.signatureAlgorithm, sequence(oid(oids.ecdsaWithSha256)));
  assert.ok(await isSignedBy(made, Buffer.from('first')));
  const found = await keys().find(name);
  assert.ok(found !== undefined);
  assert.deepEqual(found.spki, made.spki);
  assert.ok(await isSignedBy(found, Buffer.alloc(100_000, 7)));
  assert.equal(await keys().has(name), true);
  assert.equal(await keys().has('another'), false);
  assert.equal(await keys().find('another'), undefined);
});

test('a key is made on the curve that the store is for', async () => {
  const made = await new Pkcs11Keys(token(), 'sallyport', 'P-384').make(name);
  assert.deepEqual(made.signatureAlgorithm, sequence(oid(oids.ecdsaWithSha384)));
  assert.ok(await isSignedBy(made, Buffer.from('x'), 'sha384'));
});

test('the token gives the value of a key to nobody', async () => {
  const store = keys();
  await store.make(name);
  await assert.rejects(store.exportKey(name), failsWith('no-key', /never leaves/));
  await token().use((session) => {
    library.C_FindObjectsInit(session, [
      { type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY },
      { type: ck.CKA_LABEL, value: `sallyport/${name}` },
    ]);
    const [key] = library.C_FindObjects(session, 1);
    library.C_FindObjectsFinal(session);
    assert.ok(key !== undefined);
    // CKA_VALUE.
    assert.throws(() => library.C_GetAttributeValue(session, key, [{ type: 0x11 }]), /SENSITIVE/);
    const [extractable] = library.C_GetAttributeValue(session, key, [{ type: ck.CKA_EXTRACTABLE }]);
    assert.equal(extractable?.value[0], 0);
  });
});

test('a hundred signatures at once are all right, in three sessions', async () => {
  let open = 0;
  let most = 0;
  const counting: Cryptoki = new Proxy(library, {
    get: (from, property) => {
      const value: unknown = Reflect.get(from, property);
      if (typeof value !== 'function') return value;
      if (property !== 'C_SignAsync') return value.bind(from) as unknown;
      return async (...args: Parameters<Cryptoki['C_SignAsync']>) => {
        most = Math.max(most, (open += 1));
        try {
          return await from.C_SignAsync(...args);
        } finally {
          open -= 1;
        }
      };
    },
  });
  const signer = await new Pkcs11Keys(token({}, counting), 'sallyport').make(name);
  const results = await Promise.all(
    Array.from({ length: 100 }, (_, i) => isSignedBy(signer, Buffer.from(`message ${i}`))),
  );
  assert.deepEqual(new Set(results), new Set([true]));
  assert.equal(most, 3);
});

test('a name is given once, and free again when its key was removed', async () => {
  const store = keys();
  const first = await store.make(name);
  await assert.rejects(store.make(name), failsWith('already-exists', new RegExp(name)));
  await store.remove(name);
  await store.remove(name);
  assert.equal(await store.has(name), false);
  await assert.rejects(first.sign(Buffer.from('x')), failsWith('no-key', /is gone/));
  assert.notDeepEqual((await store.make(name)).spki, first.spki);
});

test('a signer never signs with a key that took the place of its own', async () => {
  const first = await keys().make(name);
  const others = keys();
  await others.remove(name);
  await others.make(name);
  await assert.rejects(first.sign(Buffer.from('x')), failsWith('tampered', /another one/));
});

test('gateways with prefixes of their own share a token', async () => {
  const one = await new Pkcs11Keys(token(), 'berlin').make(name);
  const two = await new Pkcs11Keys(token(), 'lagos').make(name);
  assert.notDeepEqual(one.spki, two.spki);
});

test('a key on P-384 that somebody has put there signs with SHA-384', async () => {
  await importKey('P-384', sensitive);
  const signer = await keys().find(name);
  assert.ok(signer !== undefined);
  assert.deepEqual(signer.signatureAlgorithm, sequence(oid(oids.ecdsaWithSha384)));
  assert.ok(await isSignedBy(signer, Buffer.from('x'), 'sha384'));
});

test('a key that the token would hand out is refused', async () => {
  await importKey('P-256', [
    { type: ck.CKA_SENSITIVE, value: false },
    { type: ck.CKA_EXTRACTABLE, value: true },
  ]);
  await assert.rejects(keys().find(name), failsWith('tampered', /give its value away/));
});

test('two keys of one label, and halves of two keys, are refused', async () => {
  await importKey('P-256', sensitive);
  await importKey('P-256', sensitive);
  await assert.rejects(keys().find(name), failsWith('tampered', /several/));

  name += '-same';
  const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await importKey('P-256', sensitive, pair(), pair());
  await assert.rejects(keys().find(name), failsWith('tampered', /public half is of another/));

  name += '-halves';
  await importKey('P-256', [...sensitive, { type: ck.CKA_ID, value: Buffer.of(1) }]);
  await assert.rejects(keys().find(name), failsWith('tampered', /public half/));
});

test('the token is known by its label and opened by its PIN', async () => {
  const missing = new Pkcs11Keys(token({ label: 'elsewhere' }), 'sallyport');
  await assert.rejects(missing.has(name), failsWith('unavailable', /no token named "elsewhere"/));
  const twins = new Pkcs11Keys(token({ label: 'twin' }), 'sallyport');
  await assert.rejects(twins.has(name), failsWith('tampered', /2 tokens named "twin"/));
  const guessing = new Pkcs11Keys(token({ label: 'other', pin: '0000' }), 'sallyport');
  const refused = failsWith('no-key', /refuses the PIN: CKR_PIN_INCORRECT/);
  await assert.rejects(guessing.has(name), refused);
  const right = new Pkcs11Keys(token({ label: 'other' }), 'sallyport');
  assert.equal(await right.has(name), false);
});

test('a module that is not there is named', async () => {
  await assert.rejects(
    loadCryptoki('/nowhere/libvendor.so'),
    failsWith('no-key', /\/nowhere\/libvendor\.so/),
  );
});
