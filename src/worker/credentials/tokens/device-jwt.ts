/**
 * JWTs that a device signs itself with a key that is registered for it: what it shows as a bearer token, or as its MQTT
 * password, where no certificate of its own reaches us. `kid` names the key, and the key the device; whatever else the
 * token says of who it is has to agree.
 */
import { isAmongHosts } from '../../../common/base/host-names.ts';
import { principalParts, spiffeId } from '../../../common/base/principal.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { JsonObject, JsonValue } from '../../../common/base/strict-json.ts';
import { confirmationOf, isFor, timeOf, untimely } from './claims.ts';
import type { DecodedJws } from './compact-jws.ts';
import type { OwnNames, TokenPorts } from './ports.ts';
import { invalidToken } from './verdict.ts';
import type { TokenProblem, VerifiedToken } from './verdict.ts';
import { isSignedBy } from './verify-signature.ts';

/** RFC 8725 section 3.11: JWTs that were made for something else have another type. */
const types: ReadonlySet<string | undefined> = new Set([undefined, 'jwt', 'device+jwt']);
/** The same key, whatever its object: RS and PS are no keys that are registered. */
const algorithms: ReadonlySet<string> = new Set(['ES256', 'ES384', 'EdDSA', 'Ed25519']);

export type DeviceJwtPorts = Pick<TokenPorts, 'clock' | 'names' | 'bounds' | 'keyOf'>;

export function verifyDeviceJwt(
  decoded: DecodedJws,
  ports: DeviceJwtPorts,
): VerifiedToken | TokenProblem {
  const { alg, typ, kid, claims } = decoded;
  if (kid === undefined) return invalidToken('the JWT has no "kid" of a registered key');
  if (!types.has(typ)) return invalidToken('the JWT is of a type that devices do not sign');
  if (!algorithms.has(alg)) return invalidToken('the algorithm is none of those devices sign by');
  const found = ports.keyOf(kid);
  if (typeof found === 'string') return invalidToken(found);
  const { principal, key, stands } = found;
  if (principalParts(principal).kind !== 'device') {
    return invalidToken('only devices sign tokens for themselves');
  }
  if (!isSignedBy(decoded, key)) return invalidToken('the signature does not verify');
  const problem = problemOf(claims, principal, ports);
  if (problem !== undefined) return invalidToken(problem);
  const confirmation = confirmationOf(claims['cnf']);
  if (confirmation === undefined)
    return invalidToken('the JWT is bound in a way that is not known');
  // `untimely` has seen it.
  const expiresAt = timeOf(claims['exp']) ?? 0;
  return {
    ok: true,
    by: 'device-jwt',
    principal,
    scopes: [],
    required: [],
    expiresAt,
    keepUntil: expiresAt,
    confirmation,
    stands,
    guest: undefined,
  };
}

/** RFC 7519 section 4.1. */
function problemOf(
  claims: JsonObject,
  principal: PrincipalName,
  { clock, names, bounds }: DeviceJwtPorts,
): string | undefined {
  const own = names();
  const { tokenClockMs, deviceTokenLifeMs } = bounds();
  const now = clock.now();
  const { aud, sub, iss, iat, exp } = claims;
  if (!isForUs(aud, own)) return 'the JWT is for another audience';
  const spoken = [sub, iss].filter((each) => each !== undefined);
  if (!spoken.every((each) => isNameOf(each, principal, own.trustDomain))) {
    return 'the JWT names another device than its key';
  }
  const late = untimely(claims, now, tokenClockMs);
  if (late !== undefined) return `the JWT: ${late}`;
  const expires = timeOf(exp) ?? Number.POSITIVE_INFINITY;
  const begins = timeOf(iat) ?? now;
  // Whoever holds a key for a moment must make no token that holds until next year; one for next year is not valid yet.
  return expires - begins > deviceTokenLifeMs ? 'the JWT holds for too long' : undefined;
}

function isForUs(aud: JsonValue | undefined, own: OwnNames): boolean {
  const named = Array.isArray(aud) ? aud : [aud];
  if (isFor(aud, [own.trustDomain])) return true;
  return (
    named.every((each) => typeof each === 'string') &&
    named.some((each) => isAmongHosts(each.toLowerCase(), own.hosts))
  );
}

/** The id, the name with its kind, or the SPIFFE id. */
function isNameOf(value: JsonValue, principal: PrincipalName, trustDomain: string): boolean {
  return (
    value === principalParts(principal).id ||
    value === principal ||
    value === spiffeId(trustDomain, principal)
  );
}
