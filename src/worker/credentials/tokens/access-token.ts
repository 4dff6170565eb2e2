/**
 * Access tokens of one issuer: JWTs by RFC 9068 section 4, in its order, and, where the issuer is asked about its tokens,
 * by its answer (RFC 7662 section 2.2). What comes out depends on the token alone; who presents it, and how, is for
 * whoever has the request.
 */
import type { KeyObject } from 'node:crypto';
import { isPrincipalId, principalName } from '../../../common/base/principal.ts';
import type { JsonObject } from '../../../common/base/strict-json.ts';
import { confirmationOf, isFor, scopesOf, timeOf, untimely } from './claims.ts';
import type { DecodedJws } from './compact-jws.ts';
import type { Issuer } from './issuer.ts';
import type { IntrospectionAnswer, TokenPorts } from './ports.ts';
import { invalidToken, notNow } from './verdict.ts';
import type { TokenProblem, VerifiedToken } from './verdict.ts';
import { isSignedBy } from './verify-signature.ts';

export type AccessTokenPorts = Pick<TokenPorts, 'clock' | 'bounds' | 'refreshKeys'>;

/** For how long a token holds that is asked about each time, and of which nobody says for how long it does. */
const oneRequestMs = 1_000;

/** Signatures that one token without `kid` can make us compute. */
const maxTries = 4;

/** RFC 9068 section 2.2, all of them; `aud` and `exp` are looked at by themselves. */
const requiredClaims = ['iss', 'sub', 'client_id', 'jti'] as const;

/** @param decoded undefined = it is opaque to us. */
export async function verifyAccessToken(
  token: string,
  decoded: DecodedJws | undefined,
  issuer: Issuer,
  ports: AccessTokenPorts,
): Promise<VerifiedToken | TokenProblem> {
  const now = ports.clock.now();
  const { introspector } = issuer;
  let signed: Signed | undefined;
  // An issuer that is asked need not have keys; where it has some, what it did not sign is not worth asking about.
  if (decoded !== undefined && (introspector === undefined || issuer.hasKeys(now))) {
    const key = signingKey(decoded, issuer, ports);
    if ('ok' in key) return key;
    signed = { claims: decoded.claims, key };
  }
  if (introspector === undefined) {
    return signed === undefined
      ? invalidToken('the token is opaque, and its issuer is not asked about any')
      : judged(signed.claims, signed.key, issuer, Number.POSITIVE_INFINITY, ports);
  }
  const answer = await introspector.ask(token);
  if (answer.outcome !== 'active') return unanswered(answer);
  return confirmed(signed, answer.claims, issuer, ports);
}

/** A JWT whose signature is good, and by which key. */
interface Signed {
  readonly claims: JsonObject;
  readonly key: KeyObject;
}

/** RFC 9068 section 4: the type, whose it is, the signature. */
function signingKey(
  decoded: DecodedJws,
  issuer: Issuer,
  { clock, refreshKeys }: AccessTokenPorts,
): KeyObject | TokenProblem {
  const { alg, typ, kid, claims } = decoded;
  const { name, strictType } = issuer.settings;
  const isOfType = typ === 'at+jwt' || (!strictType && (typ === undefined || typ === 'jwt'));
  if (!isOfType) return invalidToken('the JWT is no access token by its type');
  if (claims['iss'] !== issuer.settings.issuer) return invalidToken('the JWT is of another issuer');
  if (!issuer.takes(alg)) return invalidToken('the algorithm is none of those of the issuer');
  if (!issuer.hasKeys(clock.now())) {
    refreshKeys(name);
    return notNow('unavailable', 'there are no keys of the issuer, or they are too old');
  }
  const keys = issuer.keysFor(alg, kid);
  // It may have begun to sign by a new one: the next time it is known.
  if (keys.length === 0) {
    refreshKeys(name);
    return invalidToken('the issuer has no such key');
  }
  for (const key of keys.slice(0, maxTries)) {
    if (isSignedBy(decoded, key)) {
      const missing = strictType && requiredClaims.some((each) => typeof claims[each] !== 'string');
      return missing || (strictType && timeOf(claims['iat']) === undefined)
        ? invalidToken('the JWT lacks a claim that access tokens have')
        : key;
    }
  }
  return invalidToken('the signature does not verify');
}

function unanswered(answer: Exclude<IntrospectionAnswer, { outcome: 'active' }>): TokenProblem {
  return answer.outcome === 'inactive'
    ? invalidToken('its issuer says that the token is not active')
    : notNow(answer.outcome, `the issuer cannot be asked about the token: ${answer.reason}`);
}

/**
 * The issuer has said that the token is active. Of a JWT whose signature is good the claims count, and what the answer
 * adds to them can only narrow; of any other token the answer is all there is.
 */
function confirmed(
  signed: Signed | undefined,
  answer: JsonObject,
  issuer: Issuer,
  ports: AccessTokenPorts,
): VerifiedToken | TokenProblem {
  const { settings } = issuer;
  const now = ports.clock.now();
  const { iss, cnf, exp } = answer;
  if (iss !== undefined && iss !== settings.issuer) {
    return invalidToken('the answer about the token is of another issuer');
  }
  const keptMs = settings.introspection?.cacheMs ?? 0;
  // Without `exp` (RFC 7662 section 2.2: optional) it holds as long as the answer does.
  const expires = exp === undefined ? now + Math.max(keptMs, oneRequestMs) : timeOf(exp);
  if (expires === undefined)
    return invalidToken('the answer about the token has an "exp" that is no time');
  const known = signed?.claims ?? { ...answer, exp: expires / 1_000 };
  return judged(
    known['cnf'] === undefined && cnf !== undefined ? { ...known, cnf } : known,
    signed?.key,
    issuer,
    now + keptMs,
    ports,
  );
}

/** For whom it is, for how long, whom it names, what it is bound to: the same for both kinds. */
function judged(
  claims: JsonObject,
  key: KeyObject | undefined,
  issuer: Issuer,
  answerUntil: number,
  { clock, bounds }: AccessTokenPorts,
): VerifiedToken | TokenProblem {
  const { audiences, binding, principal: rule, name } = issuer.settings;
  if (!isFor(claims['aud'], audiences)) return invalidToken('the token is for another audience');
  const late = untimely(claims, clock.now(), bounds().tokenClockMs);
  if (late !== undefined) return invalidToken(`the token: ${late}`);
  const confirmation = confirmationOf(claims['cnf']);
  if (confirmation === undefined) {
    return invalidToken('the token is bound in a way that is not known');
  }
  if (binding === 'bound' && claims['cnf'] === undefined) {
    return invalidToken('the token is not bound, and its issuer has to bind them');
  }
  const scopes = scopesOf(claims['scope']);
  if (scopes === undefined) return invalidToken('the "scope" of the token is not a text');
  const subject = claims[rule.claim];
  const id = typeof subject === 'string' ? `${rule.prefix}${subject}` : undefined;
  // An empty claim is nobody, whatever the prefix makes of it.
  if (subject === '' || !isPrincipalId(id)) {
    return invalidToken(`the "${rule.claim}" of the token names no principal`);
  }
  // `untimely` has seen it.
  const expiresAt = timeOf(claims['exp']) ?? 0;
  return {
    ok: true,
    by: 'token',
    principal: principalName(rule.kind, id),
    scopes,
    required: rule.scopes,
    expiresAt,
    keepUntil: Math.min(expiresAt, answerUntil),
    confirmation,
    stands: () =>
      issuer.current && (key === undefined || (issuer.has(key) && issuer.hasKeys(clock.now()))),
    guest: rule.register === 'any' ? { issuer: name, role: rule.role } : undefined,
  };
}
