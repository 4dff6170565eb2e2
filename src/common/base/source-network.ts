/**
 * Which addresses count as one. A source shares the limits on connections; a network shares what its failures cost it.
 *
 * A network is an IPv4 /24 or an IPv6 /48: the smallest prefixes that are routed on the Internet, and what one customer
 * is given (RFC 6177 §2), so that whoever changes addresses at will changes them within it.
 */

/** An IPv4 address or an IPv6 /64, what one subscriber line can make up. */
export function sourceOf(address: string): string {
  const ipv4 = asIpv4(address);
  return ipv4 ?? expandIpv6(address).slice(0, 4).join(':');
}

/** An IPv4 /24 or an IPv6 /48. */
export function networkOf(address: string): string {
  const ipv4 = asIpv4(address);
  if (ipv4 !== undefined) return ipv4.slice(0, Math.max(0, ipv4.lastIndexOf('.')));
  return expandIpv6(address).slice(0, 3).join(':');
}

/** IPv4, also where a socket for both families shows it mapped into IPv6. */
function asIpv4(address: string): string | undefined {
  if (!address.includes(':')) return address;
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : undefined;
}

function expandIpv6(address: string): string[] {
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? [];
  const left = head === '' ? [] : head.split(':');
  if (tail === undefined) return left;
  const right = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0');
  return [...left, ...zeros, ...right];
}
