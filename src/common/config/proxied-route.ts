/**
 * Routes from a path to an upstream, as plain data: what control derives from the configuration, and what workers compile
 * into closures. Everything has been validated and every default filled in.
 */
import type { RateWindow } from '../base/rate-window.ts';
import type { BreakerDocument } from './breaker-document.ts';

/**
 * How a principal may prove on a route who it is: by the client certificate of its connection, by a signature under a
 * registered key (`integrity` says of which forms), by a bound or bearer access token of a configured issuer, or by a JWT
 * that the device has signed with its registered key.
 */
export const authenticationMethods = ['certificate', 'signature', 'token', 'device-jwt'] as const;
export type AuthenticationMethod = (typeof authenticationMethods)[number];

/**
 * `hmac`: `X-IoT-Signature` over the canonical form; `body-hmac`: the same header over the body alone, without time and
 * nonce; `http-signature`: HTTP Message Signatures (RFC 9421).
 */
export const integrityMethods = ['hmac', 'body-hmac', 'http-signature'] as const;
export type IntegrityMethod = (typeof integrityMethods)[number];

/** Methods that may be passed on at all. */
export const requestMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** A signature over what is asked, on top of, or instead of, who asks. */
export interface IntegrityDocument {
  /** Whether nothing passes without one, however its principal has authenticated. */
  readonly required: boolean;
  /** Never empty. */
  readonly accept: readonly IntegrityMethod[];
  /** How far the time of a signature may lie from ours, each way. A nonce is remembered for twice as long. */
  readonly windowMs: number;
}

/** Requests whose path matches, and how they are judged. Where they go is in `UpstreamSettings` of the same name. */
export interface ProxiedRouteDocument {
  readonly name: string;
  /**
   * `/a/b` is that path and no other, `/a/` everything below it. A segment `*` stands for any one segment, `${id}` for the
   * principal's own id.
   */
  readonly path: string;
  /** Upper case; never empty. */
  readonly methods: readonly string[];
  /** Roles that may use all of it. Others may what `allow.request` of their role says. */
  readonly roles: readonly string[];
  /** Never empty. */
  readonly authenticate: readonly AuthenticationMethod[];
  readonly integrity: IntegrityDocument | undefined;
  /** Requests per identity; every window must have room. */
  readonly rate: readonly RateWindow[];
  /** Bytes of request bodies per identity; every window must have room. */
  readonly bytesRate: readonly RateWindow[];
  /** Requests of one identity under way at once to one worker. */
  readonly concurrent: number;
  /** Of one request's body. */
  readonly bodyBytes: number;
  /** Media types of a request body, lower case, without parameters; empty = any. */
  readonly contentTypes: readonly string[];
  /** JSON Schema of the body, already checked by `assertSafeSchema`; undefined = any body. */
  readonly schema: unknown;
  readonly breaker: BreakerDocument | undefined;
  /** WebSocket may be spoken through it. */
  readonly webSocket: boolean;
}
