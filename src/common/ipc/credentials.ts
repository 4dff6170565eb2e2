/**
 * What workers verify proofs with that are no certificates: registered keys, token issuers, and the key with which they
 * tell backends who is asking. Part of the snapshot; control is its only author.
 */
import type { PrincipalKind } from '../base/principal.ts';

/**
 * A key registered for one principal. `id` is unique among its keys, `[A-Za-z0-9_-]{1,32}`; on the wire a key is named
 * `<id of the principal>.<id of the key>` for a device, `service:<name>.<id of the key>` for a service. `notAfter` is
 * milliseconds, wall clock; undefined = until it is removed.
 */
export type RegisteredKey =
  /** HMAC-SHA-256 under a key that is derived from `WorkerKeys.integrity`, the principal's name and the key's id. */
  | { readonly type: 'derived'; readonly id: string; readonly notAfter: number | undefined }
  /** HMAC-SHA-256 under a key that the device had already; base64, 16 to 64 bytes. Never logged. */
  | {
      readonly type: 'secret';
      readonly id: string;
      readonly secret: string;
      readonly notAfter: number | undefined;
    }
  /** A public key, DER SubjectPublicKeyInfo in base64: P-256, P-384 or Ed25519. */
  | {
      readonly type: 'public';
      readonly id: string;
      readonly spki: string;
      readonly notAfter: number | undefined;
    };

export interface CredentialMaterial {
  /** Those of the configuration, and the gateway's own token endpoint as `own` when it has one. */
  readonly issuers: readonly TokenIssuer[];
  readonly tokenEndpoint: TokenEndpointMaterial | undefined;
  readonly assertions: AssertionKeys | undefined;
}

/** Whose access tokens are taken, and how they name a principal. */
export interface TokenIssuer {
  /** Name in the configuration; `own` is the gateway's token endpoint. */
  readonly name: string;
  /** `iss`, compared as it is (RFC 9068 section 4). */
  readonly issuer: string;
  /** One of them has to be among `aud`. Never empty. */
  readonly audiences: readonly string[];
  /** JWS algorithms (RFC 7518), asymmetric ones only. */
  readonly algorithms: readonly string[];
  /** `bound`: a token without `cnf` is refused (RFC 8705, RFC 9449). */
  readonly binding: 'bound' | 'bearer';
  /** `at+jwt` is asked for (RFC 9068 section 2.1); false for issuers that cannot. */
  readonly strictType: boolean;
  /** Public JWKs that control has fetched from the configured URL. */
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  /** Milliseconds, wall clock: too old to be trusted from then on. */
  readonly keysNotAfter: number;
  readonly introspection: IntrospectionSettings | undefined;
  readonly principal: TokenPrincipalRule;
}

/** A token is never a device: DESIGN section 4, 2. */
export interface TokenPrincipalRule {
  readonly kind: Exclude<PrincipalKind, 'device'>;
  /** Claim that holds the id: `sub`, `client_id`, … */
  readonly claim: string;
  /** Put before the id. */
  readonly prefix: string;
  /** `known`: it has to be registered. `any`: whoever the issuer names, with `role`. */
  readonly register: 'known' | 'any';
  /** Of those who are not registered. */
  readonly role: string;
  /** Scopes that a token has to have, all of them. */
  readonly scopes: readonly string[];
}

/** RFC 7662. Tokens are asked about at this URL and no other. */
export interface IntrospectionSettings {
  readonly url: string;
  readonly clientId: string;
  /** Never logged. */
  readonly clientSecret: string;
  /** PEM of the only authorities that may vouch for it; undefined = those that Node brings. */
  readonly ca: string | undefined;
  /** How long an answer is kept. */
  readonly cacheMs: number;
  readonly timeoutMs: number;
}

/** The gateway's own token endpoint: control signs, the worker carries. */
export interface TokenEndpointMaterial {
  /** `https://<first server name>:<port>` or as configured; also its metadata's `issuer`. */
  readonly issuer: string;
  /** For how long its tokens hold. */
  readonly lifeMs: number;
  readonly audience: string;
}

/** With which a worker says to a backend who is asking: ES256, for upstreams whose route wants it. */
export interface AssertionKeys {
  readonly kid: string;
  /** PKCS#8 PEM of a P-256 key. Never logged. */
  readonly privateKey: string;
  /** Public JWKs, this one's and those of its predecessors whose words may still be under way. */
  readonly keys: readonly Readonly<Record<string, unknown>>[];
  /** `iss` of what is signed. */
  readonly issuer: string;
}
