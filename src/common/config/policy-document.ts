/**
 * The policy as plain data: what control derives from the configuration and what workers compile into closures.
 * Everything has been validated and every default filled in; a worker that finds a field missing refuses the snapshot.
 */
import type { RateWindow } from '../base/rate-window.ts';

export interface PolicyDocument {
  readonly trustDomain: string;
  /** Role name → rules. `device` and `backend` are always present. */
  readonly roles: Readonly<Record<string, RoleDocument>>;
  readonly routes: readonly RouteDocument[];
  /** What a principal may do in all, whatever the topic; per kind. An empty list is no limit. */
  readonly identityRates: IdentityRatesDocument;
  readonly limits: LimitsDocument;
}

export interface IdentityRatesDocument {
  readonly device: readonly RateWindow[];
  readonly service: readonly RateWindow[];
  readonly operator: readonly RateWindow[];
}

/**
 * MQTT topic filters; `${id}` stands for the principal's id and is the only template. A principal may publish to a
 * topic that a `publish` filter matches, and subscribe to a filter that a `subscribe` filter covers entirely.
 */
export interface RoleDocument {
  readonly allow: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
  /** A deny wins over every allow; a subscription that overlaps a denied filter is refused. */
  readonly deny: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
}

/** A message goes through (and to) every route whose `match` matches its topic. */
export interface RouteDocument {
  readonly name: string;
  /** MQTT topic filter. */
  readonly match: string;
  /** Per identity and route; every window must have room. */
  readonly rate: readonly RateWindow[];
  /** JSON Schema (2020-12 or draft-07), already checked by `assertSafeSchema`; undefined = any payload. */
  readonly schema: unknown;
  /** Bytes of payload; undefined = `limits.payloadBytes`. */
  readonly payloadBytes: number | undefined;
  /** Circuit breaker: consecutive refusals (schema, integrity) within the window that open it for one identity. */
  readonly breaker: BreakerDocument | undefined;
}

export interface BreakerDocument {
  readonly failures: number;
  readonly withinMs: number;
  readonly openMs: number;
}

/** Every bound of the worker; each name is a key of `limits` in the configuration, where its default says what it protects. */
export interface LimitsDocument {
  readonly sessions: number;
  readonly sessionsPerIdentity: number;
  readonly subscriptionsPerSession: number;
  /** TCP connections per second and at once from one source address (IPv4 /32, IPv6 /64), judged before TLS. */
  readonly sourceConnectionsPerSecond: number;
  readonly sourceConnections: number;
  /** Connections of one worker that have not authenticated yet. */
  readonly halfOpen: number;
  /** The same from one source address. */
  readonly sourceHalfOpen: number;
  readonly handshakeMs: number;
  /** From the end of the handshake to a complete CONNECT. */
  readonly connectMs: number;
  readonly connectBytes: number;
  readonly packetBytes: number;
  readonly payloadBytes: number;
  readonly userProperties: number;
  readonly topicBytes: number;
  readonly topicLevels: number;
  readonly keepAliveSeconds: number;
  readonly receiveMaximum: number;
  /** Outgoing bytes and messages waiting for a slow reader before its connection is closed. */
  readonly outboundBytes: number;
  readonly outboundMessages: number;
  readonly retainedPerIdentity: number;
  readonly retainedBytesPerIdentity: number;
  /** Packets other than PUBLISH that one connection may send per second. */
  readonly controlPacketsPerSecond: number;
  /** How long bytes may wait for a peer that reads none of them. */
  readonly stalledMs: number;
  /** How long a 3.1.1 client that is too fast is held back before its connection is closed. */
  readonly ratePauseMs: number;
  /** Messages refused for their rate in a row before the connection is ended (MQTT 5 DISCONNECT 0x96). */
  readonly rateRefusals: number;
  readonly drainMs: number;
  readonly maxSnapshotAgeMs: number;
}
