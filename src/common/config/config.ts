/**
 * The configuration after it has been read, checked and filled in: typed, frozen, every unit in the name. Whoever
 * holds one needs no defaults of his own.
 */
import type { CaKeyKind, KeyKind } from '../base/key-kinds.ts';
import type { PrincipalKind } from '../base/principal.ts';
import type { RateWindow } from '../base/rate-window.ts';
import type { approvals } from './enrolment-schema.ts';
import type { BreakerDocument } from './breaker-document.ts';
import type {
  ClonesDocument,
  IdentityRatesDocument,
  LimitsDocument,
  RoleDocument,
} from './policy-document.ts';
import type {
  AuthenticationMethod,
  IntegrityDocument,
  ProxiedRouteDocument,
} from './proxied-route.ts';
import type { TokensConfig } from './tokens-config.ts';

export interface Config {
  readonly trustDomain: string;
  /** DNS names and IP addresses of the server certificate. Never empty. */
  readonly serverNames: readonly string[];
  readonly listeners: ListenersConfig;
  /** Listeners that are configured and that this version does not have: whoever starts it is told. */
  readonly listenersNotYet: readonly string[];
  readonly tls: TlsConfig;
  readonly ca: CaConfig;
  readonly enrolment: EnrolmentConfig;
  /** The built-in roles and the configured ones; null prototype. */
  readonly roles: Readonly<Record<string, RoleDocument>>;
  readonly routes: readonly RouteConfig[];
  /** Of every route; no two have the same `spool`. */
  readonly backends: readonly BackendConfig[];
  /** Routes of requests. */
  readonly proxied: readonly ProxiedRouteDocument[];
  /** One for each of them. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly tokens: TokensConfig;
  readonly limits: LimitsDocument;
  readonly identityRates: IdentityRatesDocument;
  /** `flushed`: acknowledged when on the disk. `process`: when committed; survives a kill, not a power cut. */
  readonly durability: 'flushed' | 'process';
  readonly logs: { readonly level: LogLevel };
  readonly metrics: { readonly token: SecretSource | undefined };
  readonly clones: ClonesConfig;
  /** `auto` = one per core; see `workerCount`. */
  readonly workers: number | 'auto';
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export interface ClonesConfig extends ClonesDocument {
  /** Devices that the rule quarantines at most. */
  readonly quarantinesPerHour: number;
}

export interface ListenerConfig {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
}

export interface HttpsListenerConfig extends DeviceListenerConfig {
  /** Of web pages that may open MQTT over WebSocket, besides those of `serverNames`. */
  readonly origins: readonly string[];
}

export interface DeviceListenerConfig extends ListenerConfig {
  /** Networks of load balancers, `10.0.0.0/8`: what they pass on begins with a PROXY header. */
  readonly proxy: readonly string[];
}

/** The listeners that exist. */
export interface ListenersConfig {
  readonly mqtts: DeviceListenerConfig | false;
  readonly https: HttpsListenerConfig | false;
  /** Without client certificates. */
  readonly httpsSigned: DeviceListenerConfig | false;
  readonly mqttsSigned: DeviceListenerConfig | false;
  readonly est: DeviceListenerConfig | false;
  readonly status: DeviceListenerConfig | false;
  readonly admin: ListenerConfig | false;
}

export interface TlsConfig {
  readonly minVersion: '1.2' | '1.3';
  /** Key exchange groups, most wanted first, in OpenSSL's spelling. */
  readonly groups: readonly string[];
  readonly ticketRotationMs: number;
  /** Everything is kept to algorithms that FIPS 140-3 approves of; version and groups are already. */
  readonly approvedOnly: boolean;
}

/** Where a secret is read from by the process that needs it. `file` is absolute when the configuration has a path. */
export type SecretSource =
  | { readonly file: string }
  /** Name of a systemd credential: a file in `$CREDENTIALS_DIRECTORY`. */
  | { readonly credential: string }
  /** Name of an environment variable that holds the path of the file, never the secret itself. */
  | { readonly environment: string };

export interface CaConfig {
  /** Undefined: control makes one in its own folder. */
  readonly masterKey: SecretSource | undefined;
  readonly deviceDays: number;
  readonly serverDays: number;
  /** Of the CA keys that are made from now on; with `pkcs11` one on a curve. */
  readonly keyKind: CaKeyKind;
  /** Undefined: the CA keys are sealed files. */
  readonly pkcs11: Pkcs11Config | undefined;
  readonly trustAnchors: readonly TrustAnchorConfig[];
  /** Of the status listener, for others: without a slash at its end. Undefined: certificates name none. */
  readonly statusUrl: string | undefined;
  readonly crl: CrlConfig;
  readonly ocsp: OcspConfig;
}

/** The revocation lists of our own CA. */
export interface CrlConfig {
  readonly intervalMs: number;
  readonly validityMs: number;
  readonly deltaValidityMs: number;
}

export interface OcspConfig {
  readonly validityMs: number;
  readonly stapleValidityMs: number;
  /** Certificates. */
  readonly keptAnswers: number;
  readonly signaturesPerSecond: number;
}

/** The token that holds the CA keys. */
export interface Pkcs11Config {
  /** Path of the vendor's library, absolute when the configuration has a path. */
  readonly module: string;
  /** Its label. */
  readonly token: string;
  readonly pin: SecretSource;
  /** Of the labels of keys. */
  readonly prefix: string;
  readonly sessions: number;
  readonly waiting: number;
  readonly timeoutMs: number;
  readonly retryMs: number;
  /** Names of variables that the library needs. */
  readonly environment: readonly string[];
}

/** A certificate authority of the operator's own, and how its certificates name a principal. */
export interface TrustAnchorConfig {
  readonly name: string;
  /** As written in the configuration. */
  readonly file: string;
  /** The PEM text of that file: one or more certificates. */
  readonly pem: string;
  readonly kind: PrincipalKind;
  readonly role: string;
  readonly from: 'cn' | 'san-dns' | 'san-uri' | 'serial-number';
  readonly prefix: string;
  /** `auto`: an identity never seen before is registered when it first connects. `known`: it is refused. */
  readonly register: 'auto' | 'known';
  /** Undefined: nobody asks whether it has revoked a certificate. */
  readonly crl: RevocationListsConfig | undefined;
}

export const staleRules = ['fail-closed', 'warn'] as const;

/** The revocation lists of a trust anchor, and what holds while one of them is missing or out of date. */
export interface RevocationListsConfig {
  readonly from: readonly RevocationListSource[];
  readonly whenStale: (typeof staleRules)[number];
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly keepDays: number;
}

/** `url` is http: or https:, without user information or fragment; `file` is absolute when the configuration has a path. */
export type RevocationListSource = { readonly url: string } | { readonly file: string };

export interface EnrolmentConfig {
  /** Bytes of a certificate signing request. */
  readonly csrBytes: number;
  /** Kinds of keys that are certified. */
  readonly keys: readonly KeyKind[];
  /** Which enrolments over the network wait for an operator. */
  readonly approval: (typeof approvals)[number];
  /** When a device that waits is told to ask again. */
  readonly approvalRetryMs: number;
  /** Requests that are kept for an operator at once, and for how long. */
  readonly requests: number;
  readonly requestsKeptMs: number;
  /** Enrolment tokens that are open at once. */
  readonly tokens: number;
  /** Of one source a minute. */
  readonly tokenFailures: number;
  readonly renewalDays: number;
  /** After its end in which a certificate may still be renewed. */
  readonly graceDays: number;
  readonly expiryCheckMs: number;
  readonly renewalsPerDay: number;
  readonly manufacturers: readonly ManufacturerConfig[];
}

/** Whose certificates (IDevID, IEEE 802.1AR) get a new device its first one, and how they name it. */
export interface ManufacturerConfig {
  readonly name: string;
  /** As written in the configuration. */
  readonly file: string;
  /** The PEM text of that file: one or more certificates. */
  readonly pem: string;
  readonly from: TrustAnchorConfig['from'];
  readonly prefix: string;
  readonly role: string;
}

export interface RouteConfig {
  readonly name: string;
  readonly match: string;
  readonly rate: readonly RateWindow[];
  /** Path as written in the configuration; undefined = any payload. */
  readonly schemaFile: string | undefined;
  /** The parsed JSON Schema, checked by `assertSafeSchema`; undefined = any payload. */
  readonly schema: unknown;
  readonly payloadBytes: number | undefined;
  readonly breaker: BreakerDocument | undefined;
  readonly authenticate: readonly AuthenticationMethod[];
  readonly integrity: IntegrityDocument | undefined;
}

/** Where the requests of a route go; see `UpstreamSettings` of the snapshot, which is made of it. */
export interface UpstreamConfig {
  readonly route: string;
  /** Of the same scheme, no two the same; never empty. */
  readonly servers: readonly { readonly origin: string; readonly weight: number }[];
  readonly rewrite: string | undefined;
  readonly ca: string | undefined;
  readonly client: BackendClient | undefined;
  readonly connectMs: number;
  readonly answerMs: number;
  readonly totalMs: number;
  readonly connections: number;
  readonly waiting: number;
  readonly headerBytes: number;
  readonly breaker: { readonly failures: number; readonly openMs: number };
  readonly health:
    | { readonly path: string; readonly everyMs: number; readonly timeoutMs: number }
    | undefined;
  readonly identity: 'none' | 'jwt';
  readonly audience: string;
}

/** Where the messages of a route go, and the durable queue before it. */
export interface BackendConfig {
  /** `<route>/<backend>`. */
  readonly spool: string;
  readonly route: string;
  /** The route's topic filter. */
  readonly match: string;
  /** `http:` or `https:`, without user information or fragment. The query may hold a secret: it is never shown. */
  readonly url: string;
  readonly batch: number;
  readonly batchWaitMs: number;
  readonly timeoutMs: number;
  readonly requests: number;
  readonly retry: { readonly minMs: number; readonly maxMs: number };
  readonly messages: number;
  readonly bytes: number;
  readonly deadLetters: number;
  /** PEM of the only authorities that may vouch for it; undefined = those that Node brings. */
  readonly ca: string | undefined;
  /** How the gateway authenticates itself to it; undefined = not at all. */
  readonly client: BackendClient | undefined;
}

export interface BackendClient {
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PKCS#8 PEM, the key of that certificate; undefined when the configuration was read only to be checked. */
  readonly privateKey: string | undefined;
}

/** Worker processes to start on a machine with `cores` cores. */
export function workerCount(config: Pick<Config, 'workers'>, cores: number): number {
  return config.workers === 'auto' ? Math.min(Math.max(1, cores), maxWorkers) : config.workers;
}

export const maxWorkers = 64;
