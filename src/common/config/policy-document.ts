/**
 * The policy as plain data: what control derives from the configuration and what workers compile into closures.
 * Everything has been validated and every default filled in; a worker that finds a field missing refuses the snapshot.
 */
import type { RateWindow } from '../base/rate-window.ts';
import type { BreakerDocument } from './breaker-document.ts';
import type {
  AuthenticationMethod,
  IntegrityDocument,
  ProxiedRouteDocument,
} from './proxied-route.ts';

export interface PolicyDocument {
  readonly trustDomain: string;
  /** Role name → rules. `device` and `backend` are always present. */
  readonly roles: Readonly<Record<string, RoleDocument>>;
  readonly routes: readonly RouteDocument[];
  readonly proxied: readonly ProxiedRouteDocument[];
  /** What a principal may do in all, whatever the topic; per kind. An empty list is no limit. */
  readonly identityRates: IdentityRatesDocument;
  readonly limits: LimitsDocument;
  readonly pages: PagesDocument;
  readonly clones: ClonesDocument;
}

export const cloneRules = ['alert', 'take-over', 'refuse', 'quarantine'] as const;
export type CloneRule = (typeof cloneRules)[number];

/** What is done about one device that is used from two addresses. */
export interface ClonesDocument {
  readonly rule: CloneRule;
  /** Two addresses that take turns within this time are suspected. */
  readonly windowMs: number;
}

/** Web pages that may open MQTT over WebSocket with the certificate that a browser shows for its user. */
export interface PagesDocument {
  /** Lower-case names and addresses, those of the server: a page that came from one of them over TLS, on any port. */
  readonly hosts: readonly string[];
  /** Lower-case origins (RFC 6454 §6.2). */
  readonly origins: readonly string[];
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
  readonly allow: RulesDocument;
  /** A deny wins over every allow; a subscription that overlaps a denied filter is refused. */
  readonly deny: RulesDocument;
}

export interface RulesDocument {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** `METHOD /path` of proxied routes: `*` for any method, the path as `ProxiedRouteDocument` has it. */
  readonly request: readonly string[];
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
  /** How a publisher may have proven who it is; never empty. */
  readonly authenticate: readonly AuthenticationMethod[];
  /** Undefined: a signature is not looked at. */
  readonly integrity: IntegrityDocument | undefined;
}

export const whenQueueFull = ['drop-newest', 'drop-oldest'] as const;
/** What is dropped when more would wait for a session than may. */
export type WhenQueueFull = (typeof whenQueueFull)[number];

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
  /** Handshakes that a worker begins per second, and how late its event loop may be. */
  readonly handshakesPerSecond: number;
  readonly eventLoopDelayMs: number;
  /** Connections of one worker that wait to be let in, and for how long. */
  readonly admissionQueue: number;
  readonly admissionWaitMs: number;
  /** Failures per minute of one source network, and how many connections per second it has beyond. */
  readonly sourceFailures: number;
  readonly sourceSlowedPerSecond: number;
  readonly proxyHeaderMs: number;
  /** Sessions that one identity begins per minute, by its kind, and its longest wait beyond. */
  readonly connectsPerMinute: number;
  readonly serviceConnectsPerMinute: number;
  readonly connectPenaltyMs: number;
  readonly handshakeMs: number;
  /** From the end of the handshake to a complete CONNECT. */
  readonly connectMs: number;
  readonly connectBytes: number;
  readonly packetBytes: number;
  readonly payloadBytes: number;
  readonly userProperties: number;
  /** Nonces of signatures that one worker remembers for one identity, within the time for which it has to. */
  readonly noncesPerIdentity: number;
  readonly topicBytes: number;
  readonly topicLevels: number;
  readonly keepAliveSeconds: number;
  readonly receiveMaximum: number;
  /** MQTT 5 topic aliases of one connection in each direction. */
  readonly topicAliases: number;
  /** Outgoing bytes and messages waiting for a slow reader before its connection is closed. */
  readonly outboundBytes: number;
  readonly outboundMessages: number;
  /** The longest time that a session outlives its connection. */
  readonly sessionExpiryMs: number;
  /** Messages that wait for one session, their bytes, and what is dropped beyond. */
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  readonly whenQueueFull: WhenQueueFull;
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
  /** Bytes of an HTTP request's line and headers together, and how many header lines there are. */
  readonly headerBytes: number;
  readonly headers: number;
  /** From the first byte of an HTTP request to the end of its headers, and to the end of its body. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** An HTTPS connection without a request. */
  readonly idleMs: number;
  /** HTTPS connections of one identity to one worker. */
  readonly connectionsPerIdentity: number;
  /** An event stream is ended after this; its reader connects again. */
  readonly streamMs: number;
  /** Commands that wait for one device, their bytes, and how long one waits that has no expiry of its own. */
  readonly commandsPerDevice: number;
  readonly commandBytesPerDevice: number;
  readonly commandTtlMs: number;
  /** Of the disk: kept for removing what was delivered. */
  readonly diskReserveBytes: number;
  /** Of a peer that need not authenticate: how long it stays, and how often it asks. */
  readonly visitMs: number;
  readonly visitRequests: number;
  /** Body of a request of EST, as it is sent. */
  readonly estRequestBytes: number;
  /** Connections to the status listener of a worker, and of them from one source address. */
  readonly statusConnections: number;
  readonly sourceStatusConnections: number;
  /** What one source address may ask of it; see the configuration for what counts how often. */
  readonly sourceStatusPerSecond: number;
  /** OCSP requests of a worker that control answers, and times that it signs itself. */
  readonly statusCallsPerSecond: number;
  readonly signedTimesPerSecond: number;
  readonly ocspRequestBytes: number;
  readonly ocspCacheBytes: number;
  /** Connections to the signed listeners of a worker, and of them from one source address. */
  readonly signedConnections: number;
  readonly sourceSignedConnections: number;
  /** Proofs that did not hold, per minute of one source network. */
  readonly signedFailures: number;
  /** Of one request's body, and of all of a worker, before it is known who they are from. */
  readonly unprovenBodyBytes: number;
  readonly unprovenBytes: number;
  readonly tokenBytes: number;
  /** Verified tokens that a worker remembers. */
  readonly cachedTokens: number;
  /** How far clocks that tokens and proofs go by may be off. */
  readonly tokenClockMs: number;
  /** Of a JWT that a device signs for itself. */
  readonly deviceTokenLifeMs: number;
  /** Questions about tokens under way at once of a worker. */
  readonly introspections: number;
  readonly drainMs: number;
  readonly maxSnapshotAgeMs: number;
}
