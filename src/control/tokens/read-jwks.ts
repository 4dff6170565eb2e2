/**
 * A JWK Set of a token issuer (RFC 7517), read strictly: only what its keys are made of is kept, so that no `x5u`, no
 * certificate and no surprise reaches a worker. What cannot verify a token of that issuer is left out (section 5); a set
 * that shows a secret, or says two things of one key, is refused as a whole.
 */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import { parseStrictJson } from '../../common/base/strict-json.ts';
import type { JsonObject, JsonValue } from '../../common/base/strict-json.ts';

/** Of one set. Issuers have two or three; a worker tries none but the one that is named. */
const mostKeys = 64;
const smallestModulusBits = 2048;
/** Larger ones make each token a millisecond. */
const largestModulusBits = 8192;
const smallestExponent = 65_537n;
const largestExponent = 2n ** 32n - 1n;
/** Named in a reason. */
const mostReasons = 4;

const keyIdPattern = /^[\x21-\x7e]{1,256}$/;
const base64urlPattern = /^[A-Za-z0-9_-]{1,2048}$/;

/** Members of a secret or private key (RFC 7518 section 6): whoever publishes one has lost it. */
const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'];

export interface PublicJwk extends Readonly<Record<string, string>> {
  readonly kty: string;
}

export interface ReadKeys {
  /** Never empty; each has the members of its kind, and `kid` and `alg` if they were there. */
  readonly keys: readonly PublicJwk[];
  /** Why others were left out, a few words each; bounded. */
  readonly leftOut: readonly string[];
}

/** A key set that shows a secret: nothing of it is taken, and nobody trusts what it shows any more. */
export class ExposedKeys extends SallyportError {
  /** As `keyMaterial` has them; those whose public part is there as well. */
  readonly material: ReadonlySet<string>;

  constructor(named: string, material: ReadonlySet<string>) {
    super(
      'integrity',
      `the key set shows a secret (${named}): whoever reads it can sign what that key signs`,
      { hint: 'have the issuer replace that key, and publish public keys only' },
    );
    this.material = material;
  }
}

/** What a key of this kind is made of, and what it can verify. */
interface KeyForm {
  readonly members: readonly string[];
  readonly algorithms: readonly string[];
}

const rsa: KeyForm = {
  members: ['n', 'e'],
  algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
};
const forms: ReadonlyMap<string, KeyForm> = new Map([
  ['RSA', rsa],
  ['EC P-256', { members: ['crv', 'x', 'y'], algorithms: ['ES256'] }],
  ['EC P-384', { members: ['crv', 'x', 'y'], algorithms: ['ES384'] }],
  ['EC P-521', { members: ['crv', 'x', 'y'], algorithms: ['ES512'] }],
  ['OKP Ed25519', { members: ['crv', 'x'], algorithms: ['EdDSA', 'Ed25519'] }],
]);

/**
 * @param algorithms of the issuer: a key that fits none of them is left out.
 * @throws SallyportError `malformed`, `too-large`, and `ExposedKeys`, which is `integrity`.
 */
export function readJwks(text: Buffer, algorithms: readonly string[]): ReadKeys {
  const result = parseStrictJson(text);
  if (!result.ok) throw malformed(`it is no JSON: ${result.problem}`);
  const set = isObject(result.value) ? result.value['keys'] : undefined;
  if (!Array.isArray(set)) throw malformed('it has no list of keys');
  if (set.length > mostKeys) {
    throw new SallyportError('too-large', `the key set has more than ${mostKeys} keys`);
  }
  if (!set.every(isObject)) throw malformed('a key is no object');
  assertNoSecret(set);
  const keys: PublicJwk[] = [];
  const reasons: string[] = [];
  for (const each of set) {
    const read = readKey(each, algorithms);
    if (typeof read === 'string') reasons.push(`${nameOf(each)}: ${read}`);
    else keys.push(read);
  }
  const named = new Set(keys.map(({ kid }) => kid));
  if (named.size < keys.length) throw malformed('two of its keys have the same kid, or none');
  const leftOut = reasons.slice(0, mostReasons);
  if (keys.length === 0) {
    throw malformed(`no key in it can verify a token (${leftOut.join('; ') || 'it is empty'})`);
  }
  return { keys, leftOut };
}

/** The same for the same key, whatever it is called and used for. */
export function keyMaterial(jwk: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(['kty', 'crv', 'x', 'y', 'n', 'e'].map((member) => jwk[member] ?? ''));
}

function assertNoSecret(keys: readonly JsonObject[]): void {
  const exposed = keys.filter(
    (key) => key['kty'] === 'oct' || secretMembers.some((member) => member in key),
  );
  const [first] = exposed;
  if (first !== undefined) throw new ExposedKeys(nameOf(first), new Set(exposed.map(keyMaterial)));
}

/** The key, or why it is of no use here. */
function readKey(jwk: JsonObject, algorithms: readonly string[]): PublicJwk | string {
  const { kty, crv, use, alg, kid } = jwk;
  if (use !== undefined && use !== 'sig') return 'not for signatures';
  const operations = jwk['key_ops'];
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return 'not for verifying';
  }
  if (kid !== undefined && !(typeof kid === 'string' && keyIdPattern.test(kid))) {
    return 'a strange kid';
  }
  if (typeof kty !== 'string') return 'no kty';
  const form = forms.get(typeof crv === 'string' ? `${kty} ${crv}` : kty);
  if (form === undefined) return 'a kind of key that is not known';
  const fitting = form.algorithms.filter((each) => algorithms.includes(each));
  if (alg !== undefined && !(typeof alg === 'string' && fitting.includes(alg))) {
    return 'its algorithm is not accepted, or not one of such a key';
  }
  if (fitting.length === 0) return 'no accepted algorithm is one of such a key';
  const read: Record<string, string> & { kty: string } = { kty };
  for (const member of form.members) {
    const value = jwk[member];
    if (typeof value !== 'string') return `no ${member}`;
    if (member !== 'crv' && !base64urlPattern.test(value)) return `${member} is no base64url`;
    read[member] = value;
  }
  if (typeof kid === 'string') read['kid'] = kid;
  if (typeof alg === 'string') read['alg'] = alg;
  return weaknessOf(read) ?? read;
}

/** Also whether it is a key at all: a point that is not on its curve is refused by OpenSSL. */
function weaknessOf(jwk: PublicJwk): string | undefined {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    return 'it is no key';
  }
  if (jwk.kty !== 'RSA') return undefined;
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < smallestModulusBits || modulusLength > largestModulusBits) {
    return `RSA of ${modulusLength} bits`;
  }
  const isOdd = publicExponent % 2n === 1n;
  const isUsual = publicExponent >= smallestExponent && publicExponent <= largestExponent;
  return isOdd && isUsual ? undefined : 'an exponent that is not accepted';
}

function nameOf({ kid }: JsonObject): string {
  return typeof kid === 'string' && keyIdPattern.test(kid) ? `key ${kid.slice(0, 40)}` : 'a key';
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `the key set cannot be used: ${detail}`);
}
