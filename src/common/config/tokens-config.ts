/**
 * The key `tokens` of the configuration: whose access tokens are taken, and the gateway's own token endpoint. Read, checked
 * and filled in; every unit is in the name.
 */
import type { PrincipalKind } from '../base/principal.ts';

export interface TokensConfig {
  /** No two of the same name or `issuer`; none is named `own`. */
  readonly issuers: readonly TokenIssuerConfig[];
  readonly endpoint: TokenEndpointConfig | false;
  /** For how long one key signs what the gateway says: access tokens, and at most a day of identity assertions. */
  readonly keyRotationMs: number;
}

export interface TokenIssuerConfig {
  readonly name: string;
  /** `iss`, to the letter. */
  readonly issuer: string;
  /** Never empty. */
  readonly audiences: readonly string[];
  /** JWS algorithms (RFC 7518, RFC 8037), asymmetric ones only; never empty. */
  readonly algorithms: readonly string[];
  readonly binding: 'bound' | 'bearer';
  /** `at+jwt` is asked for (RFC 9068 section 2.1). */
  readonly strictType: boolean;
  /** Undefined: its tokens are asked about by introspection only. */
  readonly jwks: JwksConfig | undefined;
  readonly introspection: IntrospectionConfig | undefined;
  readonly principal: TokenPrincipalConfig;
}

/** Where the keys of an issuer are, and what holds while they cannot be had. */
export interface JwksConfig {
  /** `https:`, without user information or fragment. */
  readonly url: string;
  /** PEM of the only authorities that may vouch for it; undefined = those that Node brings. */
  readonly ca: string | undefined;
  readonly everyMs: number;
  /** Keys that were fetched longer ago are trusted no more; more than `everyMs`. */
  readonly maxAgeMs: number;
  /** From the request to the end of its answer. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** RFC 7662. */
export interface IntrospectionConfig {
  /** `https:`, without user information or fragment. */
  readonly url: string;
  readonly clientId: string;
  /** Undefined when the configuration was read only to be checked. Never shown. */
  readonly clientSecret: string | undefined;
  /** PEM; undefined = the authorities that Node brings. */
  readonly ca: string | undefined;
  readonly cacheMs: number;
  readonly timeoutMs: number;
}

/** As `TokenPrincipalRule` of the snapshot, which is made of it. */
export interface TokenPrincipalConfig {
  readonly kind: Exclude<PrincipalKind, 'device'>;
  readonly claim: string;
  readonly prefix: string;
  readonly register: 'known' | 'any';
  readonly role: string;
  readonly scopes: readonly string[];
}

export interface TokenEndpointConfig {
  /** `https:`, without a slash at its end; undefined = the first server name and the port of the https listener. */
  readonly issuer: string | undefined;
  /** `aud` of its tokens; undefined = the issuer. */
  readonly audience: string | undefined;
  /** An hour at most. */
  readonly lifeMs: number;
  /** Tokens of one service. */
  readonly perMinute: number;
}
