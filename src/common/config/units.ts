/**
 * The texts that a configuration writes quantities in, and what else is checked by more than a pattern.
 */
import { canonicalPath, canonicalTarget } from '../base/canonical-path.ts';
import { pathPatternProblem } from '../base/path-pattern.ts';
import { filterProblem, splitLevels } from '../base/topic-filter.ts';
import { requestMethods } from './proxied-route.ts';

/** Each of these is the `kind` of some value in the schema of the configuration. */
export type TextKind =
  | 'duration'
  | 'size'
  | 'disk-size'
  | 'backend-url'
  | 'crl-source'
  | 'rate'
  | 'topic-filter'
  | 'role-filter'
  | 'role-request'
  | 'request-target'
  | 'upstream-url'
  | 'https-url'
  | 'issuer-url'
  | 'media-type'
  | 'token-text'
  | 'claim'
  | 'scope'
  | 'request-path'
  | 'host'
  | 'network'
  | 'trust-domain'
  | 'server-name'
  | 'origin'
  | 'status-url'
  | 'path'
  | 'name'
  | 'id-prefix'
  | 'variable'
  | 'auto';

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
};
const rateUnits: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  day: 86_400_000,
};

/** The longest that a timer of Node can wait; a longer one would fire at once. */
const longestMs = 2_147_483_647;

/** `10s` → 10000; undefined when the text is no duration above zero that a timer can wait. */
export function durationMs(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})(ms|s|m|h|d)$/u.exec(text) ?? [];
  const factor = durationUnits[unit];
  if (amount === undefined || factor === undefined) return undefined;
  const ms = Number(amount) * factor;
  return ms > 0 && ms <= longestMs ? ms : undefined;
}

const gibibyte = 1_073_741_824;

/** `64KiB` → 65536; undefined when the text is no size from 1B to 1GiB, the most that is held in memory. */
export function sizeBytes(text: string): number | undefined {
  return bytesUpTo(gibibyte, text);
}

/** The same up to 32GiB, for what lies on a disk: half of what the store of the workers can hold. */
export function diskBytes(text: string): number | undefined {
  return bytesUpTo(32 * gibibyte, text);
}

function bytesUpTo(most: number, text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12})(B|KiB|MiB|GiB)$/u.exec(text) ?? [];
  const factor = sizeUnits[unit];
  if (amount === undefined || factor === undefined) return undefined;
  const bytes = Number(amount) * factor;
  return bytes > 0 && bytes <= most ? bytes : undefined;
}

/** `5/s` → 5 per 1000 ms; undefined when the text is no rate. */
export function rateOf(
  text: string,
): { readonly limit: number; readonly perMs: number } | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})\/(s|m|h|day)$/u.exec(text) ?? [];
  const perMs = rateUnits[unit];
  const limit = Number(amount);
  return amount === undefined || perMs === undefined || limit === 0 ? undefined : { limit, perMs };
}

/** Why `text` is not of that kind, as the end of a sentence; undefined when it is. */
export function textProblem(kind: TextKind, text: string): string | undefined {
  switch (kind) {
    case 'duration':
      return durationMs(text) === undefined
        ? 'is not a duration such as 500ms, 10s, 5m, 24h or 7d (24d at most)'
        : undefined;
    case 'size':
      return sizeBytes(text) === undefined
        ? 'is not a size such as 512B, 64KiB or 1MiB (1GiB at most)'
        : undefined;
    case 'disk-size':
      return diskBytes(text) === undefined
        ? 'is not a size such as 512MiB or 4GiB (32GiB at most)'
        : undefined;
    case 'backend-url':
      return backendUrlProblem(text);
    case 'crl-source':
      return isUrl(text) ? backendUrlProblem(text) : pathProblem(text);
    case 'rate':
      return rateOf(text) === undefined
        ? 'is not a rate above zero such as 5/s, 100/m, 1000/h or 5000/day'
        : undefined;
    case 'topic-filter':
      return whenDefined(
        filterProblem(text) ?? reservedProblem(text) ?? templateProblem(text, false),
      );
    case 'role-filter':
      return whenDefined(
        filterProblem(text) ?? reservedProblem(text) ?? templateProblem(text, true),
      );
    case 'role-request':
      return whenDefined(requestProblem(text));
    case 'request-path':
      return whenDefined(pathPatternProblem(text));
    case 'request-target': {
      const target = canonicalTarget(text);
      return target.ok ? undefined : `is no path: ${target.problem}`;
    }
    case 'upstream-url':
      return upstreamUrlProblem(text);
    case 'https-url':
      return text.startsWith('https://')
        ? backendUrlProblem(text)
        : 'is not an https URL such as https://id.example/jwks.json';
    case 'issuer-url':
      return /^https:\/\/[0-9a-z[\]:.-]{1,260}(?:\/[0-9A-Za-z._~-]{1,64}){0,8}$/u.test(text) &&
        URL.canParse(text)
        ? undefined
        : 'is not a URL such as https://gateway.example:8443, in lower case and without a slash at its end';
    case 'media-type':
      return /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/u.test(text)
        ? undefined
        : 'is not a media type such as application/json, in lower case and without parameters';
    case 'token-text':
      return /^[\x21-\x7e]{1,512}$/u.test(text)
        ? undefined
        : 'is not a text of 1 to 512 visible ASCII characters';
    case 'claim':
      return /^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/u.test(text)
        ? undefined
        : 'is not the name of a claim such as sub or client_id';
    case 'scope':
      // RFC 6749 section 3.3.
      return /^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/u.test(text)
        ? undefined
        : 'is not a scope: visible ASCII without quotes, backslashes and spaces';
    case 'host':
      return isHost(text) ? undefined : 'is not a host name or an IP address';
    case 'network':
      return isNetwork(text)
        ? undefined
        : 'is not a network such as 10.0.0.0/8, 192.0.2.7/32 or 2001:db8::/32';
    case 'server-name':
      return isHost(text) || /^\*\.[a-z0-9.-]+$/iu.test(text)
        ? undefined
        : 'is not a DNS name or an IP address';
    case 'origin':
      return /^https:\/\/(?:\[[0-9a-f:.]+\]|[0-9a-z](?:[0-9a-z.-]*[0-9a-z])?)(?::[1-9][0-9]{0,4})?$/u.test(
        text,
      )
        ? undefined
        : 'is not an origin such as https://console.example or https://console.example:8080, in lower case';
    case 'status-url':
      return statusUrlProblem(text);
    case 'trust-domain':
      return /^(?=.{1,255}$)[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/u.test(text)
        ? undefined
        : 'is not a SPIFFE trust domain: lower-case letters, digits, ".", "-" and "_"';
    case 'path':
      return pathProblem(text);
    case 'name':
      return /^[a-z][a-z0-9_-]{0,63}$/u.test(text)
        ? undefined
        : 'is not a name: 1 to 64 lower-case letters, digits, "_" and "-", starting with a letter';
    case 'id-prefix':
      return /^(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,63})?$/u.test(text)
        ? undefined
        : 'cannot begin an id: at most 64 letters, digits, ".", "_", ":" and "-", starting with a letter or digit';
    case 'variable':
      return variableProblem(text);
    case 'auto':
      return text === 'auto' ? undefined : 'is neither a number nor "auto"';
  }
}

function whenDefined(problem: string | undefined): string | undefined {
  return problem === undefined ? undefined : `is not allowed: ${problem}`;
}

function reservedProblem(filter: string): string | undefined {
  // Another check says where the template may stand; an id never begins with "$".
  if (splitLevels(filter)[0] === '${id}') return undefined;
  return filter.startsWith('$') ? 'topics that begin with "$" are the gateway\'s own' : undefined;
}

/** The only template, and only as a whole level: an id that is glued to other text could be made to mean another. */
function templateProblem(filter: string, allowed: boolean): string | undefined {
  for (const level of splitLevels(filter)) {
    if (!level.includes('${')) continue;
    if (!allowed) return 'a route is the same for everyone; "${id}" belongs in roles';
    if (level !== '${id}') return `"${level}": the only template is "\${id}", as a whole level`;
  }
  return undefined;
}

function requestProblem(text: string): string | undefined {
  const [, method = '', path = ''] = /^([^ ]*) (.*)$/u.exec(text) ?? [];
  if (method !== '*' && !requestMethods.some((known) => known === method)) {
    return `write a method (${requestMethods.join(', ')}) or "*", a space and a path`;
  }
  return pathPatternProblem(path);
}

function isHost(text: string): boolean {
  if (text.length > 253) return false;
  if (/^[0-9a-f:.]*:[0-9a-f:.]*$/iu.test(text)) return URL.canParse(`http://[${text}]/`);
  if (/^[\d.]+$/u.test(text))
    return /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/u.test(text);
  return text
    .split('.')
    .every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/iu.test(label));
}

/** A prefix of zero would be everybody: then anybody could say where they come from. */
function isNetwork(text: string): boolean {
  const [, address = '', prefix = ''] = /^([0-9a-f:.]{2,45})\/(\d{1,3})$/iu.exec(text) ?? [];
  const isIpv6 = address.includes(':');
  if (!isIpv6 && !/^[\d.]+$/u.test(address)) return false;
  return isHost(address) && Number(prefix) >= 1 && Number(prefix) <= (isIpv6 ? 128 : 32);
}

/** Whether it is written as one, and not as a path. */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//iu.test(text);
}

function pathProblem(text: string): string | undefined {
  if (text === '' || text.includes('\0')) return 'is not a path';
  // A path never needs this, and a URL with a password would end up in messages and logs.
  if (isUrl(text)) return 'is a URL; only files on this machine are read';
  return text.length > 4_096 ? 'is too long' : undefined;
}

/** What Node, the loader and OpenSSL read would change how control runs: its flags and permissions are not up to a vendor. */
function variableProblem(text: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/u.test(text)) return 'is not the name of a variable';
  return /^(?:NODE|LD|UV|OPENSSL|SSL)_/u.test(text)
    ? 'is a variable that control itself would heed'
    : undefined;
}

/** Plain http, because whoever has to ask whether a certificate holds cannot trust one for it (RFC 5280 section 8). */
function statusUrlProblem(text: string): string | undefined {
  const isPlain = /^http:\/\/[0-9a-z[\]:.-]{1,260}(?:\/[0-9A-Za-z._~-]{1,64}){0,8}$/u.test(text);
  return isPlain && URL.canParse(text)
    ? undefined
    : 'is not a URL such as http://status.example or http://status.example:8080/pki, in lower case and without a slash at its end';
}

/** Its path is put before what a device has sent: it has to be in the one form that such a path has. */
function upstreamUrlProblem(text: string): string | undefined {
  const problem = backendUrlProblem(text);
  if (problem !== undefined) return problem;
  if (text.includes('?')) return 'has a query, which belongs to the requests; remove it';
  const path = pathOfUrl(text);
  if (path === undefined) return undefined;
  const canonical = canonicalPath(path);
  if (!canonical.ok) return `is not allowed: ${canonical.problem}`;
  if (path.includes(';')) return 'has a path parameter (";…"); remove it';
  return canonical.path === path ? undefined : 'has a path that is not in canonical form';
}

/** As it is written; undefined = there is none, not even a slash. */
export function pathOfUrl(url: string): string | undefined {
  return /^[a-z]+:\/\/[^/?#]+(\/[^?#]*)/iu.exec(url)?.[1];
}

/** The text itself is never part of the message: its query may hold a secret. */
function backendUrlProblem(text: string): string | undefined {
  const url = URL.canParse(text) && text.length <= 2_048 ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    return 'is not a URL such as https://ingest.example/telemetry';
  // What the parser would quietly remove or read otherwise is not what its author meant.
  if (!/^https?:\/\/[^/\\]/u.test(text) || /[\s\p{Cc}]/u.test(text))
    return 'is not written as a URL such as https://ingest.example/telemetry';
  if (text.includes('#')) return 'has a fragment ("#…"), which is never sent; remove it';
  // Another check says so where a password stands; an empty one would pass it.
  if (url.username !== '' || url.password !== '' || /^https?:\/\/[^/?]*@/u.test(text))
    return 'contains a user name or password; let the gateway show a certificate instead';
  return undefined;
}
