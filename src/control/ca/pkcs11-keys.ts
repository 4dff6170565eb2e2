/**
 * The CA's keys in a PKCS#11 token: made there, signing there, never leaving. A key and its public half are two objects
 * with the same label and the same CKA_ID.
 */
import { createPublicKey, hash, randomBytes, verify } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { DerReader } from '../../common/codec/der/reader.ts';
import { bitString, oid, sequence, unsignedInteger } from '../../common/codec/der/writer.ts';
import { ck } from './cryptoki.ts';
import type { Attribute, Handle } from './cryptoki.ts';
import type { KeyStore } from './key-store.ts';
import type { Pkcs11Token } from './pkcs11-token.ts';
import { ecdsa } from './signer.ts';
import type { Signer } from './signer.ts';

/** DER of CKA_EC_PARAMS: the name of the curve. */
const parametersOf = Object.freeze({ 'P-256': oid(oids.prime256v1), 'P-384': oid(oids.secp384r1) });
const idBytes = 20;
/** Of P-521, the longest ECDSA signature there is: a bound for the token, not a choice. */
const maxSignatureBytes = 132;
/** Of uncompressed points on P-256 and P-384. Both begin as an OCTET STRING does, so the length has to tell. */
const bareLengths: ReadonlySet<number> = new Set([65, 97]);
/** More of one label than there may be. */
const maxObjects = 8;

/** The addon holds bare pointers to what it reads and fills: these keep the memory where it is, whoever gave up waiting. */
const heldForAddon = new Set<Buffer>();

export class Pkcs11Keys implements KeyStore {
  readonly #token: Pkcs11Token;
  readonly #prefix: string;
  readonly #curve: keyof typeof parametersOf;

  /**
   * @param prefix what the labels of this gateway's keys begin with: `<prefix>/<name>`.
   * @param curve of the keys that it makes.
   */
  constructor(token: Pkcs11Token, prefix: string, curve: keyof typeof parametersOf = 'P-256') {
    this.#token = token;
    this.#prefix = prefix;
    this.#curve = curve;
  }

  async has(name: string): Promise<boolean> {
    return this.#token.use((session) => this.#privateKey(session, name) !== undefined);
  }

  async find(name: string): Promise<Signer | undefined> {
    const found = await this.#token.use((session, opening) => {
      const handle = this.#privateKey(session, name);
      if (handle === undefined) return undefined;
      opening.keys.set(name, handle);
      return this.#publicKey(session, name, handle);
    });
    return found === undefined ? undefined : this.#signer(name, found);
  }

  async make(name: string): Promise<Signer> {
    await this.#token.use((session, { slot }) => {
      if (this.#privateKey(session, name) !== undefined) {
        const label = this.#label(name);
        throw new SallyportError('already-exists', `the token has a key "${label}" already`);
      }
      return this.#generate(slot, name);
    });
    const made = await this.find(name);
    if (made !== undefined) return made;
    throw new SallyportError(
      'unavailable',
      `the token has made "${this.#label(name)}" and lost it`,
    );
  }

  async remove(name: string): Promise<void> {
    await this.#token.use((_, { slot, keys }) => {
      keys.delete(name);
      return this.#writing(slot, (session) => {
        for (const type of [ck.CKO_PRIVATE_KEY, ck.CKO_PUBLIC_KEY]) {
          for (const handle of this.#objects(session, type, name)) {
            this.#token.library.C_DestroyObject(session, handle);
          }
        }
      });
    });
  }

  exportKey(name: string): Promise<string> {
    const label = this.#label(name);
    const error = new SallyportError('no-key', `the key "${label}" never leaves its token`, {
      hint: "back the token up with its vendor's tool; the certificate is shown by: sallyport ca show",
    });
    return Promise.reject(error);
  }

  /** A signature shows once that the two halves belong together, and that the token may use the key. */
  async #signer(name: string, spki: Buffer): Promise<Signer> {
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const found = ecdsa.get(publicKey.asymmetricKeyDetails?.namedCurve);
    if (found === undefined) throw this.#unfit(name, 'it is not on P-256 or P-384');
    const [algorithm, digest] = found;
    const signer: Signer = {
      spki,
      signatureAlgorithm: sequence(oid(algorithm)),
      sign: async (data) => this.#sign(name, spki, hash(digest, data, 'buffer')),
    };
    const probe = randomBytes(32);
    if (!verify(digest, probe, publicKey, await signer.sign(probe))) {
      throw this.#unfit(name, 'its public half is of another key');
    }
    return signer;
  }

  async #sign(name: string, spki: Buffer, digest: Buffer): Promise<Buffer> {
    const made = await this.#token.use(async (session, { keys }) => {
      const key = keys.get(name) ?? this.#keyAgain(session, name, spki, keys);
      const { library } = this.#token;
      const signature = Buffer.alloc(maxSignatureBytes);
      for (const buffer of [digest, signature]) heldForAddon.add(buffer);
      try {
        // Not CKM_ECDSA_SHA256: many tokens sign digests only.
        library.C_SignInit(session, { mechanism: ck.CKM_ECDSA }, key);
        return await library.C_SignAsync(session, digest, signature);
      } finally {
        for (const buffer of [digest, signature]) heldForAddon.delete(buffer);
      }
    });
    return signatureValue(made);
  }

  /** After the token was lost: the key of that name must still be the one whose certificate we hold. */
  #keyAgain(session: Handle, name: string, spki: Buffer, keys: Map<string, Handle>): Handle {
    const handle = this.#privateKey(session, name);
    if (handle === undefined) {
      throw new SallyportError('no-key', `the key "${this.#label(name)}" is gone from its token`);
    }
    if (!this.#publicKey(session, name, handle).equals(spki)) {
      throw this.#unfit(name, 'it has become another one');
    }
    keys.set(name, handle);
    return handle;
  }

  #generate(slot: Handle, name: string): Promise<unknown> {
    const both: Attribute[] = [
      { type: ck.CKA_TOKEN, value: true },
      { type: ck.CKA_LABEL, value: this.#label(name) },
      { type: ck.CKA_ID, value: randomBytes(idBytes) },
    ];
    const publicKey: Attribute[] = [
      ...both,
      { type: ck.CKA_CLASS, value: ck.CKO_PUBLIC_KEY },
      { type: ck.CKA_EC_PARAMS, value: parametersOf[this.#curve] },
      { type: ck.CKA_VERIFY, value: true },
    ];
    const privateKey: Attribute[] = [
      ...both,
      { type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY },
      { type: ck.CKA_PRIVATE, value: true },
      { type: ck.CKA_SENSITIVE, value: true },
      { type: ck.CKA_EXTRACTABLE, value: false },
      { type: ck.CKA_SIGN, value: true },
    ];
    const mechanism = { mechanism: ck.CKM_EC_KEY_PAIR_GEN };
    return this.#writing(slot, (session) =>
      this.#token.library.C_GenerateKeyPairAsync(session, mechanism, publicKey, privateKey),
    );
  }

  /** The sessions of the pool can only read: what changes the token is rare, and a slip of theirs must not. */
  async #writing<T>(slot: Handle, action: (session: Handle) => T | Promise<T>): Promise<T> {
    const { library } = this.#token;
    const session = library.C_OpenSession(slot, ck.CKF_SERIAL_SESSION | ck.CKF_RW_SESSION);
    try {
      return await action(session);
    } finally {
      library.C_CloseSession(session);
    }
  }

  /** @throws SallyportError `tampered` when there are several. */
  #privateKey(session: Handle, name: string): Handle | undefined {
    const [handle, another] = this.#objects(session, ck.CKO_PRIVATE_KEY, name);
    if (another !== undefined) throw this.#unfit(name, 'there are several of that label');
    return handle;
  }

  /** DER SubjectPublicKeyInfo (RFC 5480 section 2) of the public half. */
  #publicKey(session: Handle, name: string, privateKey: Handle): Buffer {
    const { library } = this.#token;
    const [type, sensitive, id] = library.C_GetAttributeValue(session, privateKey, [
      { type: ck.CKA_KEY_TYPE },
      { type: ck.CKA_SENSITIVE },
      { type: ck.CKA_ID },
    ]);
    if (type?.value[0] !== ck.CKK_EC) throw this.#unfit(name, 'it is no elliptic curve key');
    // One that the token would hand out is no better than a file.
    if (sensitive?.value[0] !== 1) throw this.#unfit(name, 'the token would give its value away');
    const withId: Attribute[] = id === undefined ? [] : [{ type: ck.CKA_ID, value: id.value }];
    const [handle, another] = this.#objects(session, ck.CKO_PUBLIC_KEY, name, withId);
    if (handle === undefined || another !== undefined) {
      throw this.#unfit(name, 'it has not exactly one public half of the same label and CKA_ID');
    }
    const [parameters, point] = library.C_GetAttributeValue(session, handle, [
      { type: ck.CKA_EC_PARAMS },
      { type: ck.CKA_EC_POINT },
    ]);
    if (parameters === undefined || point === undefined) {
      throw this.#unfit(name, 'its public half has no point');
    }
    return sequence(
      sequence(oid(oids.ecPublicKey), parameters.value),
      bitString(pointOctets(point.value)),
    );
  }

  #objects(session: Handle, type: number, name: string, more: readonly Attribute[] = []): Handle[] {
    const { library } = this.#token;
    const label: Attribute = { type: ck.CKA_LABEL, value: this.#label(name) };
    library.C_FindObjectsInit(session, [{ type: ck.CKA_CLASS, value: type }, label, ...more]);
    try {
      return library.C_FindObjects(session, maxObjects);
    } finally {
      library.C_FindObjectsFinal(session);
    }
  }

  #label(name: string): string {
    return `${this.#prefix}/${name}`;
  }

  #unfit(name: string, why: string): SallyportError {
    return new SallyportError('tampered', `the key "${this.#label(name)}" in the token: ${why}`, {
      hint: 'restore the token from its backup, or give ca.pkcs11.prefix a name of its own',
    });
  }
}

/** CKA_EC_POINT is a DER OCTET STRING around the point (PKCS #11 section 2.3.3); some tokens leave that out. */
function pointOctets(value: Buffer): Buffer {
  return bareLengths.has(value.length) ? value : new DerReader(value).octetString();
}

/** PKCS #11 section 2.3.1: r and s, each half of it. X.509: Ecdsa-Sig-Value (RFC 3279 section 2.2.3). */
function signatureValue(raw: Buffer): Buffer {
  const half = raw.length / 2;
  return sequence(unsignedInteger(raw.subarray(0, half)), unsignedInteger(raw.subarray(half)));
}
