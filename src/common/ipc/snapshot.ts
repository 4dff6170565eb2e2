/**
 * The snapshot: everything a worker decides with. Control is its only author. A delta carries whole replacements of
 * the parts that changed, never edits inside them.
 */
import type { PrincipalKind, PrincipalName, Standing } from '../base/principal.ts';
import type { TlsAlgorithms } from '../base/tls-profile.ts';
import type { PackedSerials } from '../base/serial-set.ts';
import type { PolicyDocument } from '../config/policy-document.ts';
import type { CredentialMaterial, RegisteredKey } from './credentials.ts';

export interface Snapshot {
  readonly policy: PolicyDocument;
  readonly tls: TlsMaterial;
  readonly status: StatusMaterial;
  readonly listeners: ListenerSettings;
  readonly durability: Durability;
  /** Every backend of every route; empty = accepted messages go to subscribers only. */
  readonly backends: readonly BackendSettings[];
  /** One for each proxied route of the policy. */
  readonly upstreams: readonly UpstreamSettings[];
  readonly credentials: CredentialMaterial;
  readonly identities: readonly IdentityEntry[];
  /** `<anchor name>:<serial in lower-case hex without leading zeros>` of certificates revoked before they expire. */
  readonly revokedSerials: readonly string[];
  /** What the revocation lists of other authorities revoke besides. */
  readonly revokedLists: readonly RevokedList[];
  readonly logLevel: string;
}

/**
 * What an acknowledgement waits for at least: `flushed` to disk, or committed so that it survives the death of any
 * `process`. Of LMDB, whose commits are flushed, both get the same.
 */
export type Durability = 'flushed' | 'process';

export interface RevokedList {
  readonly anchor: string;
  readonly serials: PackedSerials;
}

export interface IdentityEntry {
  readonly name: PrincipalName;
  readonly standing: Standing;
  /** The role whose rules apply; `device` for devices. */
  readonly role: string;
  /** The trust anchor that may vouch for this identity: `internal`, or the name of a configured anchor. */
  readonly anchor: string;
  /** Left out: none. */
  readonly keys?: readonly RegisteredKey[] | undefined;
}

export interface TlsMaterial {
  /** PEM, leaf first, then the issuing CA. */
  readonly certificateChain: string;
  /** PKCS#8 PEM. Never logged, never written but inside the sealed snapshot. */
  readonly privateKey: string;
  readonly minVersion: '1.2' | '1.3';
  /** Key exchange groups in OpenSSL's spelling, most wanted first. */
  readonly groups: readonly string[];
  /** Which cipher suites and signatures; the usual ones when left out. */
  readonly algorithms?: TlsAlgorithms | undefined;
  readonly anchors: readonly TrustAnchor[];
}

/**
 * What the gateway tells strangers of itself. It is renewed by itself again and again, and no live connection depends on
 * it: apart from `TlsMaterial`, which every connection is judged by anew when it changes.
 */
export interface StatusMaterial {
  /** Undefined: no time is signed. */
  readonly time: TimeCredentials | undefined;
  /** OCSP answers about server certificates, for handshakes that ask for one (RFC 6066 section 8). */
  readonly staples: readonly Staple[];
}

/** The key that signs the time for devices whose clock is wrong, certified under our CA for that and nothing else. */
export interface TimeCredentials {
  /** DER, base64. */
  readonly certificate: string;
  /** PKCS#8 PEM of a P-256 key. Never logged. */
  readonly privateKey: string;
}

export interface Staple {
  /** SHA-256 of the DER of the certificate that it speaks of, hex. */
  readonly certificate: string;
  /** DER OCSPResponse, base64. */
  readonly response: string;
  /** Milliseconds; from then on clients refuse it. */
  readonly nextUpdate: number;
}

/** A CA whose certificates are accepted from clients, and how they name a principal. */
export interface TrustAnchor {
  /** `internal` is our own CA. */
  readonly name: string;
  /** PEM of the root and of every CA that signs clients itself; a chain that a client sends is not followed. */
  readonly certificates: readonly string[];
  readonly mapping: AnchorMapping;
}

/**
 * `spiffe`: our own profile: one SPIFFE SAN URI of our trust domain that agrees with exactly one CN.
 * `rule`: take the id from the named place, match it, and call it `kind`/`prefix` + id.
 */
export type AnchorMapping =
  | { readonly type: 'spiffe' }
  | {
      readonly type: 'rule';
      readonly kind: PrincipalKind;
      readonly role: string;
      readonly from: 'cn' | 'san-dns' | 'san-uri' | 'serial-number';
      /** Text that is put before the id; part of the id that the registry knows. */
      readonly prefix: string;
      /** Identities never seen before are registered by control when they first connect; otherwise refused. */
      readonly autoRegister: boolean;
    };

export interface ListenerSettings {
  readonly mqtts: DeviceListenAddress | false;
  readonly https: DeviceListenAddress | false;
  readonly est: DeviceListenAddress | false;
  readonly status: DeviceListenAddress | false;
  /** Server TLS only: whoever comes proves by a signature or a token who it is. */
  readonly httpsSigned: DeviceListenAddress | false;
  readonly mqttsSigned: DeviceListenAddress | false;
}

/** Where the messages of a route go, and the durable queue before it. Control has checked it and filled it in. */
export interface BackendSettings {
  /** The spool's name: `<route>/<backend>`. Unique. */
  readonly spool: string;
  readonly route: string;
  /** The route's topic filter. */
  readonly match: string;
  /** `http:` or `https:`, without user information. */
  readonly url: string;
  /** Messages per request; 1 = binary mode, more = `application/cloudevents-batch+json`. */
  readonly batch: number;
  /** How long a batch that is not full waits for more. */
  readonly batchWaitMs: number;
  /** From the request to the end of its answer. */
  readonly timeoutMs: number;
  /** Requests under way at once, over all workers. */
  readonly requests: number;
  readonly retry: { readonly minMs: number; readonly maxMs: number };
  /** Bounds of what waits: beyond them devices are told `unavailable`. */
  readonly messages: number;
  readonly bytes: number;
  /** Refused for good by the backend and kept for the operator; beyond it the oldest go. */
  readonly deadLetters: number;
  readonly tls: BackendTls;
}

/** Where the requests of a proxied route go. Control has checked it and filled it in. */
export interface UpstreamSettings {
  /** The name of its route. */
  readonly route: string;
  /** In turn, those that are healthy. Never empty. */
  readonly servers: readonly UpstreamServer[];
  /**
   * What the part of the path that the route names is replaced by, beginning and ending as the route's path does; undefined =
   * the upstream sees the path as it is.
   */
  readonly rewrite: string | undefined;
  readonly tls: BackendTls;
  readonly connectMs: number;
  /** Until the head of the answer is there, and between two pieces of its body. */
  readonly answerMs: number;
  /** From the request to the end of its answer; WebSocket is not meant. */
  readonly totalMs: number;
  /** Connections to one server at once, of one worker. */
  readonly connections: number;
  /** Requests of one worker that wait for one of them. */
  readonly waiting: number;
  /** Bytes of an answer's head. */
  readonly headerBytes: number;
  /** A server is left out after so many failures in a row, for so long; then one request tries it. */
  readonly breaker: { readonly failures: number; readonly openMs: number };
  /** Undefined: only what requests show. */
  readonly health: UpstreamHealth | undefined;
  /** `none`: the trusted headers only. `jwt`: a signed assertion in `X-Sallyport-Identity` as well. */
  readonly identity: 'none' | 'jwt';
  /** `aud` of that assertion. */
  readonly audience: string;
}

export interface UpstreamServer {
  /** `http://host:port` or `https://host:port`, nothing else. */
  readonly origin: string;
  readonly weight: number;
}

export interface UpstreamHealth {
  /** Path and query that is asked for with GET; 2xx and 3xx are healthy. */
  readonly path: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

export interface BackendTls {
  /** PEM; undefined = the CAs that Node brings. */
  readonly ca: string | undefined;
  /** PEM of the certificate with which the gateway authenticates itself, leaf first, and its PKCS#8 key. */
  readonly client: { readonly certificate: string; readonly privateKey: string } | undefined;
  readonly approvedOnly?: boolean | undefined;
}

export interface ListenAddress {
  readonly host: string;
  /** 0 = any free port: the first worker's choice is handed to the others. */
  readonly port: number;
}

export interface DeviceListenAddress extends ListenAddress {
  /** Networks of load balancers, `10.0.0.0/8`: what they pass on begins with a PROXY header. */
  readonly proxy: readonly string[];
}

export type SnapshotChange =
  | { readonly type: 'identity'; readonly entry: IdentityEntry }
  | { readonly type: 'identity-gone'; readonly name: PrincipalName }
  | { readonly type: 'revoked'; readonly serials: readonly string[] }
  /** Their authority takes it back: they were on hold, or are asked about no more. */
  | { readonly type: 'unrevoked'; readonly serials: readonly string[] }
  | { readonly type: 'policy'; readonly policy: PolicyDocument }
  | { readonly type: 'tls'; readonly tls: TlsMaterial }
  | { readonly type: 'status'; readonly status: StatusMaterial }
  | { readonly type: 'backends'; readonly backends: readonly BackendSettings[] }
  | { readonly type: 'upstreams'; readonly upstreams: readonly UpstreamSettings[] }
  | { readonly type: 'credentials'; readonly credentials: CredentialMaterial }
  | { readonly type: 'log-level'; readonly level: string };
