/**
 * A JWT as it came, taken apart and nothing believed: JWS compact serialization (RFC 7515 section 7.1), bounded before it
 * is looked at. What two readers could read differently is refused: other spellings of the same base64url, members that
 * come twice, extensions that we do not have, keys that a token brings or names itself.
 */
import { parseStrictJson } from '../../../common/base/strict-json.ts';
import type { JsonObject, JsonValue } from '../../../common/base/strict-json.ts';

/** RFC 7515 section 5.2: what a signature is over, and by which algorithm it says it is. */
export interface SignedText {
  readonly alg: string;
  /** ASCII. */
  readonly text: string;
  readonly signature: Buffer;
}

export interface DecodedJws extends SignedText {
  readonly ok: true;
  /** Lower case, without `application/` (RFC 7515 section 4.1.9); undefined = none. */
  readonly typ: string | undefined;
  readonly kid: string | undefined;
  /** Only of a proof, which has to have one. */
  readonly jwk: JsonObject | undefined;
  readonly claims: JsonObject;
}

export interface NotJws {
  readonly ok: false;
  /** For the log; holds nothing of the token. */
  readonly problem: string;
}

/** Whether it is to be read as a JWS at all, or is opaque to all but its issuer (RFC 6749 section 1.4). */
export function looksLikeJws(token: string): boolean {
  // `{` and a quotation mark or a space; `{` and a line end or a tab.
  return token.split('.', 4).length === 3 && /^e[yw]/.test(token);
}

/**
 * @param maxBytes `TokenBounds.tokenBytes`.
 * @param bringsKey as DPoP proofs do (RFC 9449 section 4.2); of everything else it is refused.
 */
export function decodeJws(token: string, maxBytes: number, bringsKey = false): DecodedJws | NotJws {
  if (token.length > maxBytes) return not('too large');
  const segments = token.split('.', 4);
  if (segments.length !== 3) return not('not a JWS in compact form');
  const [encodedHeader = '', encodedClaims = '', encodedSignature = ''] = segments;
  const header = jsonObject(encodedHeader);
  if (typeof header === 'string') return not(`its header ${header}`);
  const claims = jsonObject(encodedClaims);
  if (typeof claims === 'string') return not(`its claims: ${claims}`);
  const signature = bytesOf(encodedSignature);
  if (signature === undefined) return not('its signature is not base64url');
  const head = understood(header, bringsKey);
  if ('ok' in head) return head;
  const text = token.slice(0, token.lastIndexOf('.'));
  return { ok: true, ...head, claims, text, signature };
}

type Head = Pick<DecodedJws, 'alg' | 'typ' | 'kid' | 'jwk'>;

/** RFC 7515 section 4.1; RFC 8725 sections 3.1 and 3.10. */
function understood(header: JsonObject, bringsKey: boolean): Head | NotJws {
  for (const name of refusedMembers) {
    if (header[name] !== undefined) return not(`its header has "${name}"`);
  }
  const { alg, typ, kid, jwk } = header;
  if (typeof alg !== 'string') return not('its header has no "alg"');
  if (!isTextOrNone(typ)) return not('"typ" is not a text');
  if (!isTextOrNone(kid)) return not('"kid" is not a text');
  if (!bringsKey && jwk !== undefined) return not('its header has "jwk"');
  if (bringsKey && !isJsonObject(jwk)) return not('its header has no "jwk"');
  return {
    alg,
    typ: typ === undefined ? undefined : mediaType(typ),
    kid,
    jwk: isJsonObject(jwk) ? jwk : undefined,
  };
}

/**
 * `crit` and `b64`: we have no extension (RFC 7515 section 4.1.11, RFC 7797). `jku`, `x5u`, `x5c`: whoever makes a token
 * does not say by which key it is judged. `enc`, `zip`: not a JWS.
 */
const refusedMembers = ['crit', 'b64', 'jku', 'x5u', 'x5c', 'enc', 'zip'] as const;

function mediaType(typ: string): string {
  const lower = typ.toLowerCase();
  return lower.startsWith('application/') ? lower.slice('application/'.length) : lower;
}

function jsonObject(segment: string): JsonObject | string {
  const bytes = bytesOf(segment);
  if (bytes === undefined) return 'not base64url';
  const read = parseStrictJson(bytes);
  if (!read.ok) return read.problem;
  return isJsonObject(read.value) ? read.value : 'not an object';
}

/** Undefined unless it is the one spelling of these bytes: no padding, no stray bits at the end (RFC 4648 section 3.5). */
function bytesOf(segment: string): Buffer | undefined {
  const bytes = Buffer.from(segment, 'base64url');
  return bytes.length > 0 && bytes.toString('base64url') === segment ? bytes : undefined;
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTextOrNone(value: JsonValue | undefined): value is string | undefined {
  return value === undefined || typeof value === 'string';
}

function not(problem: string): NotJws {
  return { ok: false, problem };
}
