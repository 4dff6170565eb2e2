/**
 * The configuration after it has been read, checked and filled in: typed, frozen, every unit in the name. Whoever
 * holds one needs no defaults of his own.
 */
import type { PrincipalKind } from '../base/principal.ts';
import type { RateWindow } from '../base/rate-window.ts';
import type {
  BreakerDocument,
  IdentityRatesDocument,
  LimitsDocument,
  RoleDocument,
} from './policy-document.ts';

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
  readonly limits: LimitsDocument;
  readonly identityRates: IdentityRatesDocument;
  /** `flushed`: acknowledged when on the disk. `process`: when committed; survives a kill, not a power cut. */
  readonly durability: 'flushed' | 'process';
  readonly logs: { readonly level: LogLevel };
  readonly metrics: { readonly token: SecretSource | undefined };
  /** `auto` = one per core; see `workerCount`. */
  readonly workers: number | 'auto';
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export interface ListenerConfig {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
}

/** The listeners that exist. */
export interface ListenersConfig {
  readonly mqtts: ListenerConfig | false;
  readonly admin: ListenerConfig | false;
}

export interface TlsConfig {
  readonly minVersion: '1.2' | '1.3';
  /** Key exchange groups, most wanted first, in OpenSSL's spelling. */
  readonly groups: readonly string[];
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
  readonly trustAnchors: readonly TrustAnchorConfig[];
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
}

export interface EnrolmentConfig {
  /** Bytes of a certificate signing request. */
  readonly csrBytes: number;
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
}

/** Worker processes to start on a machine with `cores` cores. */
export function workerCount(config: Pick<Config, 'workers'>, cores: number): number {
  return config.workers === 'auto' ? Math.min(Math.max(1, cores), maxWorkers) : config.workers;
}

export const maxWorkers = 64;
