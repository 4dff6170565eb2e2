/** What the token endpoint says of itself: its metadata (RFC 8414) and the keys that verify its tokens (RFC 7517). */
import type { TokenEndpointMaterial } from '../../../../common/ipc/credentials.ts';
import type { Exchange } from '../../http/exchange.ts';
import { headers } from '../../http/wire.ts';
import { tokenPath } from './handle-token.ts';
import type { OAuthPorts } from './ports.ts';

export const metadataPath = '/.well-known/oauth-authorization-server';
/**
 * Apart from `/.well-known/jwks.json`, which also has the keys with which workers say who is asking: whoever looks for the
 * keys of access tokens must not find one that a worker holds.
 */
export const tokenKeysPath = '/oauth2/jwks';
/** The name of the token endpoint among the issuers. */
const ownName = 'own';

export function handleMetadata({ credentials }: OAuthPorts, exchange: Exchange): undefined {
  const endpoint = credentials()?.tokenEndpoint;
  if (endpoint === undefined) exchange.refuse('not-found', 'no token endpoint');
  else give(exchange, 'application/json', metadataOf(endpoint));
}

export function handleTokenKeys({ credentials }: OAuthPorts, exchange: Exchange): undefined {
  const own = credentials()?.issuers.find(({ name }) => name === ownName);
  if (own === undefined) exchange.refuse('not-found', 'no token endpoint');
  else give(exchange, 'application/jwk-set+json', { keys: own.keys });
}

/** RFC 8414 section 2, RFC 8705 sections 2.1.1 and 3.3, in the names of IANA's registry. */
function metadataOf({ issuer }: TokenEndpointMaterial): object {
  return {
    issuer,
    token_endpoint: `${issuer}${tokenPath}`,
    jwks_uri: `${issuer}${tokenKeysPath}`,
    // There is no authorization endpoint that could respond.
    response_types_supported: [],
    grant_types_supported: ['client_credentials'],
    token_endpoint_auth_methods_supported: ['tls_client_auth', 'private_key_jwt'],
    token_endpoint_auth_signing_alg_values_supported: ['ES256', 'ES384', 'EdDSA', 'Ed25519'],
    tls_client_certificate_bound_access_tokens: true,
  };
}

function give(exchange: Exchange, type: string, says: object): void {
  const body = Buffer.from(JSON.stringify(says));
  const length = String(body.length);
  exchange.answer(200, headers('Content-Type', type, 'Content-Length', length), body);
}
