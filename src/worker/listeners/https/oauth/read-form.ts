/**
 * The body of a request for a token, `application/x-www-form-urlencoded` (RFC 6749 appendix B), read strictly: what two
 * readers would read differently is refused. Parameters that are not known are ignored, those without a value are not
 * there (section 3.2).
 */

/** Of one form; what is asked with has seven. */
const mostParameters = 32;

/** What control is told, and nothing else: whatever else a client sends goes nowhere. */
const known: ReadonlySet<string> = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'scope',
  'resource',
]);

const printable = /^[\x21-\x7e]*$/;
const badEscape = /%(?![0-9A-Fa-f]{2})/;
const controls = /\p{Cc}/u;

export type Form =
  | { readonly ok: true; readonly parameters: Readonly<Record<string, string>> }
  /** For the log. */
  | { readonly ok: false; readonly problem: string };

export function readForm(body: Buffer): Form {
  const text = body.toString('latin1');
  if (!printable.test(text)) return { ok: false, problem: 'other than printable ASCII' };
  const pairs = text.split('&');
  if (pairs.length > mostParameters) return { ok: false, problem: 'too many parameters' };
  const seen = new Set<string>();
  const parameters: Record<string, string> = Object.create(null) as Record<string, string>; // typed `any`
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    if (equals < 1) return { ok: false, problem: 'a parameter without a name or "="' };
    const name = decoded(pair.slice(0, equals));
    const value = decoded(pair.slice(equals + 1));
    if (name === undefined || value === undefined) return { ok: false, problem: 'bad encoding' };
    if (seen.has(name)) return { ok: false, problem: 'a parameter that is there twice' };
    seen.add(name);
    // A secret that somebody has sent in error is not passed around.
    if (known.has(name) && value !== '') {
      parameters[name] = name === 'client_secret' ? 'given' : value;
    }
  }
  return { ok: true, parameters };
}

function decoded(text: string): string | undefined {
  if (badEscape.test(text)) return undefined;
  try {
    const value = decodeURIComponent(text.replaceAll('+', ' '));
    return controls.test(value) ? undefined : value;
  } catch {
    return undefined;
  }
}
