/** The names by which the gateway is spoken to, and the web pages that may use what a person's certificate opens. */
import { isAmongHosts } from '../../../common/base/host-names.ts';
import type { PagesDocument } from '../../../common/config/policy-document.ts';

/** RFC 3986 §3.2.2, in lower case, and the port that may follow. */
const hostPattern = /^(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::[0-9]{0,5})?$/;
const secure = 'https://';

/** @param host as in `Host`: a name or an address, in any case, perhaps with a port. */
export function isOwnName(host: string, hosts: PagesDocument['hosts']): boolean {
  const [, name] = hostPattern.exec(host.toLowerCase()) ?? [];
  if (name === undefined) return false;
  const bare = name.replace(/^\[|\]$/g, '');
  return isAmongHosts(bare, hosts);
}

/**
 * A browser asks for whatever page wants it, and shows its user's certificate with it; what it cannot be made to do is hide
 * which page that is (RFC 6454 §7, RFC 6455 §10.2). A page that came over plain HTTP may be anybody's.
 */
export function isOwnPage(origin: string, { hosts, origins }: PagesDocument): boolean {
  const lower = origin.toLowerCase();
  if (origins.includes(lower)) return true;
  return lower.startsWith(secure) && isOwnName(lower.slice(secure.length), hosts);
}
