/** How the gateway's token endpoint is called where nothing else is configured. */

/**
 * @param serverNames of its certificate; it goes by the first.
 * @param port of the listener that it is on; undefined, or 0, while nobody knows which.
 * @returns an `https:` URL without a slash at its end.
 */
export function ownUrl(
  [name = '']: readonly string[],
  port: number | undefined,
): string | undefined {
  if (port === undefined || port === 0) return undefined;
  const host = name.includes(':') ? `[${name}]` : name;
  return port === 443 ? `https://${host}` : `https://${host}:${port}`;
}

/** The listener that the endpoint is called after: `https`, or that for those without a certificate where it is alone. */
export function tokenListener({ https, httpsSigned }: TokenListeners): TokenListener | undefined {
  if (https !== false) return { name: 'https', port: https.port };
  return httpsSigned === false ? undefined : { name: 'httpsSigned', port: httpsSigned.port };
}

/** Those of the configuration. */
type TokenListeners = Readonly<Record<TokenListener['name'], { readonly port: number } | false>>;

interface TokenListener {
  readonly name: 'https' | 'httpsSigned';
  readonly port: number;
}
