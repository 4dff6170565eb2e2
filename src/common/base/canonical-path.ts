/**
 * The one form of a request's path (RFC 3986 section 6.2.2) that the policy judges, signatures are over and an upstream
 * is sent. What servers are known to read in more than one way has no such form and is refused, for a path that means
 * one thing to us and another behind us is a way around every rule.
 */

export type CanonicalPath =
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly problem: string };

export type CanonicalTarget =
  | {
      readonly ok: true;
      readonly path: string;
      /** As it was sent, without `?`; empty when there is none, or nothing behind the `?`. */
      readonly query: string;
    }
  | { readonly ok: false; readonly problem: string };

/** Canonical as they are, which are most: no escape, no parameter, no segment that is empty or begins with a dot. */
const tidy = /^(?:\/[0-9A-Za-z_~!$&'()*+,=:@-][0-9A-Za-z._~!$&'()*+,=:@-]*)+\/?$/u;
/** Also a dot segment to servers that drop path parameters before they resolve it: `..;x`. */
const dotSegment = /^\.\.?(?:;|%3B|$)/u;

/**
 * A request target in origin form (RFC 9112 section 3.2.1) in canonical form: its path, and its query as it is, which
 * must be visible ASCII. Length is the caller's to bound.
 */
export function canonicalTarget(target: string): CanonicalTarget {
  const mark = target.indexOf('?');
  const canonical = canonicalPath(mark < 0 ? target : target.slice(0, mark));
  if (!canonical.ok) return canonical;
  const query = mark < 0 ? '' : target.slice(mark + 1);
  if (query !== '' && !/^[\x21\x22\x24-\x7e]*$/u.test(query)) {
    return refused('the query has a character that is not visible ASCII, or "#"');
  }
  return { ok: true, path: canonical.path, query };
}

/**
 * Escapes of unreserved characters are decoded, the hex digits of all others made upper case. Refused: characters that a
 * path cannot have (section 3.3), escapes that are none or hide a slash, a backslash, a control character or another
 * escape, bytes that are not UTF-8, empty segments and dot segments.
 */
export function canonicalPath(text: string): CanonicalPath {
  if (tidy.test(text)) return { ok: true, path: text };
  if (!text.startsWith('/')) return refused('the path does not begin with "/"');
  return rewritten(text);
}

function refused(problem: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem };
}

function rewritten(text: string): CanonicalPath {
  if (!/^[/0-9A-Za-z._~!$&'()*+,;=:@%-]*$/u.test(text)) {
    return refused('the path has a character that must be escaped, or may not be there');
  }
  if (/%(?![0-9A-Fa-f]{2})/u.test(text))
    return refused('the path has a "%" without two hex digits');
  if (/%(?:[01][0-9A-Fa-f]|7F)/iu.test(text)) return refused('the path hides a control character');
  if (/%(?:2F|5C)/iu.test(text)) return refused('the path hides a slash or a backslash');
  // Servers that decode twice would read what none of this has seen.
  if (/%25(?:[0-9A-Fa-f]|%3[0-9]|%[46][1-6]){2}/iu.test(text))
    return refused('the path hides an escape');
  if (/%[89A-F]/iu.test(text) && !isUtf8(text))
    return refused('the path has bytes that are not UTF-8');
  return arranged(
    text.replaceAll(/%[0-9A-Fa-f]{2}/gu, (escape) => {
      const character = String.fromCodePoint(Number.parseInt(escape.slice(1), 16));
      return /[0-9A-Za-z._~-]/u.test(character) ? character : escape.toUpperCase();
    }),
  );
}

/** What is left to be wrong with a path of good characters: how its segments are. */
function arranged(path: string): CanonicalPath {
  // One of parameters alone is empty to servers that drop them.
  if (/\/(?:[/;]|%3B)/u.test(path)) return refused('the path has an empty segment');
  return path.split('/').some((segment) => dotSegment.test(segment))
    ? refused('the path has a dot segment')
    : { ok: true, path };
}

/** Overlong forms of a slash or a dot are none (RFC 3629 section 3). */
function isUtf8(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
