/**
 * A client that authenticates by a JWT which it has signed with its registered key (RFC 7523 section 3, `private_key_jwt`
 * of OpenID Connect Core section 9).
 */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { errors, jwtVerify } from 'jose';
import type { JWTPayload } from 'jose';
import type { Clock } from '../../common/base/clock.ts';
import { isPrincipalId, printable, principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { parseStrictJson } from '../../common/base/strict-json.ts';
import type { JsonObject, JsonValue } from '../../common/base/strict-json.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { wireKeyId } from '../../common/identity/wire-key-id.ts';
import { OAuthError } from './oauth-error.ts';

export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** Characters. Three claims and an id are 400. */
const mostCharacters = 8 * 1024;
const longestLifeMs = 5 * 60_000;
/** How far the clocks of a service and of the gateway may be apart. */
const leewayMs = 30_000;
const mostIdCharacters = 256;
/** Of one service that are tried when its assertion names none. */
const mostTried = 4;

const compactPattern = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
/** They would say which key to use, or where to fetch it. */
const foreignKeyMembers = ['jwk', 'jku', 'x5u', 'x5c'];
/** RFC 8725 section 3.11 has no type for it yet; what other JWTs of ours are called is not taken for one. */
const types: ReadonlySet<unknown> = new Set([undefined, 'JWT', 'jwt', 'client-authentication+jwt']);

export interface ClientAssertionParts {
  readonly clock: Pick<Clock, 'now'>;
  /** Of a service, those that are registered now. */
  readonly keysOf: (name: PrincipalName) => readonly RegisteredKey[];
}

export interface AssertedClient {
  readonly name: PrincipalName;
  readonly keyId: string;
  readonly assertionId: string;
  /** Milliseconds: until when the assertion is good, our leeway included. */
  readonly expiresAt: number;
}

/**
 * @param clientId what the request says besides, if anything.
 * @param audiences one of them, and nothing else, is its `aud`.
 * @throws OAuthError `invalid_client`.
 */
export async function assertedClient(
  assertion: string,
  clientId: string | undefined,
  audiences: readonly string[],
  parts: ClientAssertionParts,
): Promise<AssertedClient> {
  if (assertion.length > mostCharacters) throw refused('the assertion is too long');
  if (!compactPattern.test(assertion)) throw refused('the assertion is no signed JWT');
  const { header, claims } = unverified(assertion);
  const { iss, sub } = claims;
  if (!isPrincipalId(sub) || iss !== sub) {
    throw refused('iss and sub are not both the name of a service');
  }
  if (clientId !== undefined && clientId !== sub) throw refused('client_id is another one');
  const member = foreignKeyMembers.find((each) => each in header);
  if (member !== undefined) throw refused(`the assertion brings its key along (${member})`);
  if (!types.has(header['typ'])) throw refused('the assertion is a JWT of another type');
  const name = principalName('service', sub);
  const now = parts.clock.now();
  const keys = candidates(parts.keysOf(name), name, header, now);
  if (keys.length === 0) {
    throw refused(`${name} has no registered key that it could be signed with`);
  }
  const { keyId, payload } = await signedBy(assertion, keys, now);
  const { jti, exp = 0 } = payload;
  assertTimely(payload, now);
  // One value: who is named beside us could use the assertion here, and we there.
  const { aud } = payload;
  const audience = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (typeof audience !== 'string' || !audiences.includes(audience)) {
    throw refused('it is meant for somebody else (aud)');
  }
  // jose leaves its type open.
  if (typeof jti !== 'string' || jti === '' || jti.length > mostIdCharacters) {
    throw refused('jti is no id');
  }
  return { name, keyId, assertionId: jti, expiresAt: exp * 1_000 + leewayMs };
}

/** Of a member that is there twice, two readers see different ones: jose, which verifies it, must not be the second. */
function unverified(assertion: string): {
  readonly header: JsonObject;
  readonly claims: JsonObject;
} {
  const [header, claims] = assertion
    .split('.', 2)
    .map((part) => parseStrictJson(Buffer.from(part, 'base64url')));
  if (header?.ok !== true || claims?.ok !== true) throw refused('the assertion is no JWT');
  if (!isObject(header.value) || !isObject(claims.value)) throw refused('it is no JWT of objects');
  return { header: header.value, claims: claims.value };
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface Candidate {
  readonly keyId: string;
  readonly key: KeyObject;
}

function candidates(
  keys: readonly RegisteredKey[],
  principal: PrincipalName,
  { kid, alg }: JsonObject,
  now: number,
): Candidate[] {
  const found = keys.flatMap((each): Candidate[] => {
    if (each.type !== 'public' || (each.notAfter !== undefined && now >= each.notAfter)) return [];
    if (kid !== undefined && kid !== wireKeyId({ principal, id: each.id })) return [];
    const key = createPublicKey({
      key: Buffer.from(each.spki, 'base64'),
      format: 'der',
      type: 'spki',
    });
    return typeof alg === 'string' && algorithmsOf(key).includes(alg)
      ? [{ keyId: each.id, key }]
      : [];
  });
  return found.slice(0, mostTried);
}

function algorithmsOf(key: KeyObject): readonly string[] {
  if (key.asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519'];
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === 'prime256v1') return ['ES256'];
  return curve === 'secp384r1' ? ['ES384'] : [];
}

async function signedBy(
  assertion: string,
  keys: readonly Candidate[],
  now: number,
): Promise<{ readonly keyId: string; readonly payload: JWTPayload }> {
  const currentDate = new Date(now);
  const options = { currentDate, clockTolerance: leewayMs / 1_000, requiredClaims: ['exp', 'jti'] };
  for (const { keyId, key } of keys) {
    try {
      const algorithms = [...algorithmsOf(key)];
      const { payload } = await jwtVerify(assertion, key, { ...options, algorithms });
      return { keyId, payload };
    } catch (error) {
      if (error instanceof errors.JWSSignatureVerificationFailed) continue;
      if (error instanceof errors.JOSEError) {
        throw refused(`the assertion is refused: ${printable(error.message)}`);
      }
      throw error;
    }
  }
  throw refused('no registered key has signed the assertion');
}

/** What jose leaves open: that it is short-lived, and has been made just now. */
function assertTimely({ exp = 0, iat }: JWTPayload, now: number): void {
  if (exp * 1_000 > now + longestLifeMs + leewayMs) throw refused('it is good for too long (exp)');
  if (iat === undefined) return;
  const ageMs = now - iat * 1_000;
  if (ageMs < -leewayMs || ageMs > longestLifeMs + leewayMs) throw refused('iat is not of now');
}

function refused(detail: string): OAuthError {
  return new OAuthError('invalid_client', detail);
}
