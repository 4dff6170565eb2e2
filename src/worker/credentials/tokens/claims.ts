/** What claims have to be before anything is concluded from them (RFC 7519 section 4.1). */
import type { JsonObject, JsonValue } from '../../../common/base/strict-json.ts';
import { isJsonObject } from './compact-jws.ts';

/** NumericDate as milliseconds; undefined when it is none, or too far away to be counted in them. */
export function timeOf(value: JsonValue | undefined): number | undefined {
  if (typeof value !== 'number' || value < 0) return undefined;
  const ms = value * 1_000;
  return ms <= Number.MAX_SAFE_INTEGER ? ms : undefined;
}

/** `aud` is a text or an array of texts (RFC 7519 section 4.1.3): whether one of `wanted` is among them. */
export function isFor(audience: JsonValue | undefined, wanted: readonly string[]): boolean {
  const named = Array.isArray(audience) ? audience : [audience];
  if (!named.every((each) => typeof each === 'string')) return false;
  return named.some((each) => wanted.includes(each));
}

/** Undefined while now is within `nbf` and `exp`, else what is wrong. `exp` has to be there. */
export function untimely(claims: JsonObject, now: number, skewMs: number): string | undefined {
  const expires = timeOf(claims['exp']);
  if (expires === undefined) return 'it has no "exp"';
  // No leeway: the time is that of whoever limits it, and a token is easily had anew.
  if (expires <= now) return 'it has expired';
  return early(claims['nbf'], now, skewMs) ?? early(claims['iat'], now, skewMs);
}

function early(value: JsonValue | undefined, now: number, skewMs: number): string | undefined {
  if (value === undefined) return undefined;
  const at = timeOf(value);
  if (at === undefined) return 'its "nbf" or "iat" is no time';
  return at > now + skewMs ? 'it is not valid yet' : undefined;
}

/** What a token is bound to (RFC 7800 section 3.1); base64url of a SHA-256 each. */
export interface Confirmation {
  /** RFC 8705 section 3.1. */
  readonly certificate: string | undefined;
  /** RFC 9449 section 6.1. */
  readonly proofKey: string | undefined;
}

const unbound: Confirmation = Object.freeze({ certificate: undefined, proofKey: undefined });

const digest = /^[A-Za-z0-9_-]{43}$/;

/**
 * Undefined when the token says that it is bound in a way that we do not check: then nobody can show that he is the one
 * it was given to.
 */
export function confirmationOf(cnf: JsonValue | undefined): Confirmation | undefined {
  if (cnf === undefined) return unbound;
  if (!isJsonObject(cnf)) return undefined;
  const { 'x5t#S256': certificate, jkt: proofKey, ...others } = cnf;
  if (Object.keys(others).length > 0 || !isDigestOrNone(certificate) || !isDigestOrNone(proofKey)) {
    return undefined;
  }
  return certificate === undefined && proofKey === undefined
    ? undefined
    : { certificate, proofKey };
}

function isDigestOrNone(value: JsonValue | undefined): value is string | undefined {
  return value === undefined || (typeof value === 'string' && digest.test(value));
}

/** RFC 6749 section 3.3: names with one space between them. Undefined = it is something else. */
export function scopesOf(scope: JsonValue | undefined): readonly string[] | undefined {
  if (scope === undefined) return [];
  if (typeof scope !== 'string') return undefined;
  return scope.split(' ').filter((each) => each !== '');
}
