/**
 * One issuer of access tokens with its keys made ready. Its keys come and go; whatever else changes makes it another
 * issuer, and what was verified by the one before is verified no more.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KeyObject } from 'node:crypto';
import type { IntrospectionSettings, TokenIssuer } from '../../../common/ipc/credentials.ts';
import type { Introspector } from './ports.ts';
import { publicKeyOf } from './public-jwk.ts';
import { fits } from './verify-signature.ts';

/** Of a set: as many as control takes. */
const maxKeys = 64;

interface IssuerKey {
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly kid: string | undefined;
  /** The only one it is for; undefined = it does not say. */
  readonly alg: string | undefined;
  readonly key: KeyObject;
}

export class Issuer {
  readonly settings: Omit<TokenIssuer, 'keys' | 'keysNotAfter'>;
  readonly introspector: Introspector | undefined;
  #keys: readonly IssuerKey[] = [];
  #keysNotAfter = 0;
  #current = true;

  constructor(issuer: TokenIssuer, introspector: (of: IntrospectionSettings) => Introspector) {
    const { keys: _keys, keysNotAfter: _until, ...settings } = issuer;
    this.settings = settings;
    const { introspection } = settings;
    this.introspector = introspection === undefined ? undefined : introspector(introspection);
    this.#takeKeys(issuer);
  }

  /** False once the snapshot has another issuer in its place, or none. */
  get current(): boolean {
    return this.#current;
  }

  /** Keys that were fetched too long ago may have been withdrawn since. */
  hasKeys(now: number): boolean {
    return this.#keys.length > 0 && now < this.#keysNotAfter;
  }

  /** Whether it is what the snapshot says now; its keys are then those of now. */
  renew(issuer: TokenIssuer): boolean {
    const { keys: _keys, keysNotAfter: _until, ...settings } = issuer;
    if (!isDeepStrictEqual(settings, this.settings)) return false;
    this.#takeKeys(issuer);
    return true;
  }

  end(): void {
    this.#current = false;
    this.introspector?.close();
  }

  /** Whether this is one of its keys of now. */
  has(key: KeyObject): boolean {
    return this.#keys.some((each) => each.key === key);
  }

  takes(alg: string): boolean {
    return this.settings.algorithms.some((each) => isSameAlgorithm(each, alg));
  }

  /** A key that stays is the same object as before: what it has verified holds. */
  #takeKeys({ keys, keysNotAfter }: TokenIssuer): void {
    const before = this.#keys;
    this.#keys = keys
      .slice(0, maxKeys)
      .map((jwk) => before.find((each) => isDeepStrictEqual(each.jwk, jwk)) ?? issuerKey(jwk))
      .filter((key) => key !== undefined);
    this.#keysNotAfter = keysNotAfter;
  }

  /** Those that a token may be signed by; without `kid` every one that is for the algorithm. */
  keysFor(alg: string, kid: string | undefined): readonly KeyObject[] {
    return this.#keys
      .filter(
        (each) =>
          (kid === undefined || each.kid === kid) &&
          (each.alg === undefined || isSameAlgorithm(each.alg, alg)) &&
          fits(alg, each.key),
      )
      .map(({ key }) => key);
  }
}

/** RFC 9864 gives EdDSA with this curve a name of its own; issuers and their sets use either. */
function isSameAlgorithm(a: string, b: string): boolean {
  return a === b || (isEdDsa(a) && isEdDsa(b));
}

function isEdDsa(alg: string): boolean {
  return alg === 'EdDSA' || alg === 'Ed25519';
}

/** RFC 7517 section 4: `use`, `key_ops` and `alg` say what it is for. Undefined = not for signatures, or unreadable. */
function issuerKey(jwk: Readonly<Record<string, unknown>>): IssuerKey | undefined {
  const { kid, alg, use, key_ops: operations } = jwk;
  if (use !== undefined && use !== 'sig') return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return undefined;
  }
  if (kid !== undefined && typeof kid !== 'string') return undefined;
  if (alg !== undefined && typeof alg !== 'string') return undefined;
  const key = publicKeyOf(jwk);
  return key === undefined ? undefined : { jwk, kid, alg, key };
}
