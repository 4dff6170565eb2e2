/** What tokens need from outside their folder; the worker's composition root fits it. */
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../../common/base/clock.ts';
import type { JsonObject } from '../../../common/base/strict-json.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { IntrospectionSettings } from '../../../common/ipc/credentials.ts';
import type { IdentityRecord } from '../../policy/ports.ts';

export interface TokenPorts {
  readonly clock: Clock;
  readonly names: () => OwnNames;
  readonly bounds: () => TokenBounds;
  /** The snapshot's live record. */
  readonly identity: (name: PrincipalName) => IdentityRecord | undefined;
  /** The registered key of that name on the wire as of now; why there is none when there is none. */
  readonly keyOf: (wireKeyId: string) => RegisteredPublicKey | string;
  /** Remembers an id of `owner` for so long. Never rejects; only `new` may go on. */
  readonly remember: (owner: string, id: string, ttlMs: number) => Remembered | Promise<Remembered>;
  /** Asks control to fetch the keys of an issuer anew; returns at once. Control decides whether it does. */
  readonly refreshKeys: (issuer: string) => void;
  readonly introspector: (settings: IntrospectionSettings) => Introspector;
}

export type Remembered = 'new' | 'seen' | 'full' | 'unable';

/** By which names devices and tokens call this gateway. */
export interface OwnNames {
  readonly trustDomain: string;
  /** Names and addresses of its server certificate, lower case. */
  readonly hosts: readonly string[];
}

/** As `LimitsDocument` has them. */
export type TokenBounds = Pick<
  LimitsDocument,
  'tokenBytes' | 'cachedTokens' | 'tokenClockMs' | 'deviceTokenLifeMs'
>;

export interface RegisteredPublicKey {
  readonly principal: PrincipalName;
  /** A secret one of HMAC too, which signs no token. */
  readonly key: KeyObject;
  /** Whether it is registered still, and holds. */
  readonly stands: () => boolean;
}

/** Asks one issuer about its tokens (RFC 7662). */
export interface Introspector {
  /** Never rejects; bounded in time. */
  ask(token: string): Promise<IntrospectionAnswer>;
  close(): void;
}

export type IntrospectionAnswer =
  | { readonly outcome: 'active'; readonly claims: JsonObject }
  | { readonly outcome: 'inactive' }
  /** `busy`: too many are asked about at once. */
  | { readonly outcome: 'unavailable' | 'busy'; readonly reason: string };
