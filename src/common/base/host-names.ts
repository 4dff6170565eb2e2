/**
 * Whether a host is one of these names and addresses, those of a server certificate for example. As in a certificate,
 * `*.a.example` is any one label below `a.example`.
 *
 * @param host lower case, without port and brackets.
 * @param names lower case.
 */
export function isAmongHosts(host: string, names: readonly string[]): boolean {
  const dot = host.indexOf('.');
  const wildcard = dot > 0 ? `*${host.slice(dot)}` : host;
  return names.some((each) => each === host || each === wildcard);
}
