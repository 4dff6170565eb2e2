/**
 * Which headers of a device's request a backend gets to see. Whatever looks like a statement about who asks, or about what
 * is asked, is ours to say: it is dropped in every spelling, and nothing that a device names can take ours away.
 */
import { printable } from '../../../../common/base/principal.ts';
import type { BadHead } from '../../http/request-head.ts';
import { problems } from '../../http/wire.ts';

/**
 * RFC 9110 §5.6.2 allows more. A server that makes variables of header names (CGI, WSGI, PHP) takes `X_Device_Id`, and some
 * take `X.Device.Id`, for `X-Device-Id`: such names reach nobody, as with nginx.
 */
const plainName = /^[A-Za-z0-9-]+$/;

/** RFC 9110 §7.6.1, and what the upstream's own connection says in our place. */
const connectionHeaders: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Names, in lower case, with which proxies and identity services tell a backend who asks, from where, and for what. */
const ours: readonly RegExp[] = [
  // Our own.
  /^(?:x-)?(?:sallyport|principal|identity|spiffe)(?:-|$)/,
  // Client certificates: RFC 9440, nginx, Apache, HAProxy, Traefik, Envoy and many a tutorial.
  /^(?:x-)?(?:m?tls|ssl)(?:-|$)/,
  /^(?:x-)?(?:client|device|peer|subject|user)-(?:auth|c?n$|cert|dn|fingerprint|i?d$|i-dn|identity|ip$|issuer|name|principal|s-dn|san|serial|spiffe|subject|verif)/,
  // Where it comes from: RFC 7239 and all that it was to replace.
  /^(?:forwarded|via)$/,
  /^x-forwarded(?:-|$)/,
  /^x-(?:real-ip|client-?ip|cluster-client-ip|originating-ip|host|server-name)$/,
  /^(?:true-client-ip|cf-connecting-ip(?:v6)?|fastly-client-ip|fly-client-ip|x-azure-clientip|x-azure-socketip)$/,
  /^(?:x-)?remote-/,
  // Users, as identity services in front of a backend name them.
  /^x-(?:authenticated|webauth|verified|credential|consumer|anonymous-consumer)(?:-|$)/,
  /^x-auth-(?:request|user|username|email|groups?|roles?|name|id|subject|principal)(?:-|$)/,
  /^x-(?:amzn-(?:mtls|oidc)|goog-(?:iap|authenticated)|ms-client-principal|envoy|arr|appengine)(?:-|$)/,
  /^(?:x-(?:authentik|pomerium)|cf-access|tailscale|impersonate)-/,
  /^x-user(?:name)?$/,
  // What the request is, beside its own line: the policy has judged that line.
  /^x-(?:original|rewrite)(?:-|$)/,
  /^x-(?:http-)?method(?:-override)?$/,
  // CloudEvents in binary mode: what the gateway itself tells backends of messages.
  /^ce-/,
  // As a variable (CGI), `HTTP_PROXY`.
  /^proxy(?:-|$)/,
  // As a variable that was made a header.
  /^http-/,
];

/**
 * RFC 9110 §7.6.1: never right for `Connection` to name, as all on the way have to see it. The policy, or a signature, has
 * judged the request with it.
 */
const forAll = /^(?:host|authorization|cookie|signature(?:-input)?|(?:content|x-iot)-[a-z0-9-]+)$/;

const tokenName = /^(?:authorization|dpop)$/i;

type Verdict = 'passes' | 'dropped' | 'connection';

/** Devices use the same few; what somebody makes up costs a few µs each time once there are too many. */
const maxKnown = 1_024;
/** Of a name that is remembered: long ones are nobody's, and would be kept for ever. */
const maxKnownLength = 64;
const known = new Map<string, Verdict>();

function verdictOf(name: string): Verdict {
  const already = known.get(name);
  if (already !== undefined) return already;
  const verdict = judged(name);
  if (known.size < maxKnown && name.length <= maxKnownLength) known.set(name, verdict);
  return verdict;
}

function judged(name: string): Verdict {
  if (!plainName.test(name)) return 'dropped';
  const lower = name.toLowerCase();
  if (lower === 'connection') return 'connection';
  if (connectionHeaders.has(lower)) return 'dropped';
  return ours.some((pattern) => pattern.test(lower)) ? 'dropped' : 'passes';
}

/**
 * Appends to `lines`, name and value in turn, what a backend may see of `raw`.
 *
 * @param isTokenOurs the request has shown a token to the gateway: a backend could show it here again in its turn.
 * @returns a refusal when `Connection` names what is for all on the way.
 */
export function appendPassedOn(
  lines: string[],
  raw: readonly string[],
  isTokenOurs = false,
): BadHead | undefined {
  let named: ReadonlySet<string> | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (verdictOf(raw[i] ?? '') !== 'connection') continue;
    named = withNames(named, raw[i + 1] ?? '');
    for (const name of named ?? []) {
      if (!forAll.test(name)) continue;
      return { problem: problems.malformed, detail: `Connection: ${printable(name)}` };
    }
  }
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (verdictOf(name) !== 'passes') continue;
    if (named?.has(name.toLowerCase()) === true) continue;
    if (isTokenOurs && tokenName.test(name)) continue;
    lines.push(name, raw[i + 1] ?? '');
  }
  return undefined;
}

/** The names in a `Connection` field beside its own words; undefined when there are none. */
function withNames(
  before: ReadonlySet<string> | undefined,
  value: string,
): ReadonlySet<string> | undefined {
  if (value === 'keep-alive' || value === 'close') return before;
  const names = new Set(before);
  for (const option of value.split(',')) {
    const name = option.trim().toLowerCase();
    if (name !== '') names.add(name);
  }
  return names;
}
