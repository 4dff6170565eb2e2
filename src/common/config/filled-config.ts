/** The shape that the schema and its defaults guarantee; quantities are still texts. A test holds it to the schema. */
import type { CaKeyKind, KeyKind } from '../base/key-kinds.ts';
import type { PrincipalKind } from '../base/principal.ts';
import { SallyportError } from '../base/errors.ts';
import type {
  DeviceListenerConfig,
  HttpsListenerConfig,
  ListenerConfig,
  LogLevel,
  staleRules,
} from './config.ts';
import { configSchema } from './config-schema.ts';
import type { approvals } from './enrolment-schema.ts';
import { fillDefaults } from './fill-defaults.ts';
import type { CloneRule, RoleDocument } from './policy-document.ts';
import type { AuthenticationMethod, IntegrityMethod } from './proxied-route.ts';
import { configError } from './problems.ts';
import type { Problem } from './problems.ts';
import { validateConfig } from './validate-config.ts';
import { readYaml } from './yaml-source.ts';
import type { Path } from './yaml-source.ts';

export interface FilledWindow {
  readonly limit: string;
  readonly burst: number;
}

export type FilledRate = FilledWindow | readonly FilledWindow[];

export interface FilledRoute extends FilledProxied {
  readonly match: string | undefined;
  readonly schema: string | undefined;
  readonly rate: FilledRate;
  readonly payloadBytes: string | undefined;
  readonly breaker:
    | { readonly failures: number; readonly within: string; readonly open: string }
    | undefined;
  readonly authenticate: readonly AuthenticationMethod[] | undefined;
  readonly integrity:
    | {
        readonly accept: readonly IntegrityMethod[];
        readonly clock: string;
        readonly required: boolean;
      }
    | undefined;
  readonly to: readonly FilledBackend[];
  readonly spool: {
    readonly messages: number;
    readonly bytes: string;
    readonly deadLetters: number;
  };
}

/** The same with `path`. */
export interface FilledProxied {
  readonly path: string | undefined;
  readonly upstream: string | FilledServer | readonly (string | FilledServer)[] | undefined;
  readonly methods: readonly string[] | undefined;
  readonly roles: readonly string[] | undefined;
  readonly bytesRate: FilledRate;
  readonly concurrent: number;
  readonly bodyBytes: string;
  readonly contentTypes: readonly string[];
  readonly webSocket: boolean;
  readonly proxy: {
    readonly ca: string | undefined;
    readonly certificate: string | undefined;
    readonly key: FilledSecret | undefined;
    readonly connectTimeout: string;
    readonly answerTimeout: string;
    readonly timeout: string;
    readonly connections: number;
    readonly waiting: number;
    readonly headerBytes: string;
    readonly breaker: { readonly failures: number; readonly open: string };
    readonly health:
      | { readonly path: string; readonly every: string; readonly timeout: string }
      | undefined;
    readonly identity: 'none' | 'jwt';
    readonly audience: string | undefined;
  };
}

export interface FilledServer {
  readonly url: string;
  readonly weight: number;
}

export interface FilledTokens {
  readonly issuers: readonly {
    readonly name: string;
    readonly issuer: string;
    readonly audience: string | readonly string[];
    readonly jwks: string | FilledJwks | undefined;
    readonly algorithms: readonly string[];
    readonly binding: 'bound' | 'bearer';
    readonly type: 'strict' | 'any';
    readonly principal: {
      readonly kind: Exclude<PrincipalKind, 'device'>;
      readonly claim: string;
      readonly prefix: string;
      readonly register: 'known' | 'any';
      readonly role: string | undefined;
      readonly scopes: readonly string[];
    };
    readonly introspection:
      | {
          readonly url: string;
          readonly clientId: string;
          readonly clientSecret: FilledSecret;
          readonly ca: string | undefined;
          readonly cache: string;
          readonly timeout: string;
        }
      | undefined;
  }[];
  readonly endpoint:
    | false
    | {
        readonly issuer: string | undefined;
        readonly audience: string | undefined;
        readonly life: string;
        readonly perMinute: number;
      };
  readonly keyRotation: string;
}

export interface FilledJwks {
  readonly url: string;
  readonly ca: string | undefined;
  readonly every: string;
  readonly maxAge: string;
  readonly timeout: string;
  readonly maxBytes: string;
}

export interface FilledBackend {
  readonly http: string;
  readonly name: string | undefined;
  readonly batch: number;
  readonly batchWait: string;
  readonly timeout: string;
  readonly requests: number;
  readonly retry: { readonly min: string; readonly max: string };
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: FilledSecret | undefined;
}

export interface FilledCaStatus {
  readonly statusUrl: string | false | undefined;
  readonly crl: {
    readonly interval: string;
    readonly validity: string;
    readonly deltaValidity: string;
  };
  readonly ocsp: {
    readonly validity: string;
    readonly stapleValidity: string;
    readonly keptAnswers: number;
    readonly signaturesPerSecond: number;
  };
}

export interface FilledPkcs11 {
  readonly module: string;
  readonly token: string;
  readonly pin: FilledSecret;
  readonly prefix: string;
  readonly sessions: number;
  readonly waiting: number;
  readonly timeout: string;
  readonly retry: string;
  readonly environment: readonly string[];
}

/** Exactly one of them is there. */
export interface FilledSecret {
  readonly file?: string | undefined;
  readonly credential?: string | undefined;
  readonly environment?: string | undefined;
}

export interface FilledRevocationLists {
  readonly from: readonly string[];
  readonly whenStale: (typeof staleRules)[number];
  readonly every: string;
  readonly timeout: string;
  readonly maxBytes: string;
  readonly keepDays: number;
}

export interface FilledEnrolment {
  readonly csrBytes: string;
  readonly keys: readonly KeyKind[];
  readonly approval: (typeof approvals)[number];
  readonly approvalRetry: string;
  readonly requests: number;
  readonly requestsKept: string;
  readonly tokens: number;
  readonly tokenFailures: number;
  readonly renewalDays: number;
  readonly graceDays: number;
  readonly expiryCheck: string;
  readonly renewalsPerDay: number;
  readonly manufacturers: readonly {
    readonly name: string;
    readonly file: string;
    readonly from: 'cn' | 'san-dns' | 'san-uri' | 'serial-number';
    readonly prefix: string;
    readonly role: string;
  }[];
}

export interface FilledConfig {
  readonly trustDomain: string;
  readonly serverNames: readonly string[];
  /** Of the listeners that do not exist yet, whatever was written. */
  readonly listeners: Readonly<
    Record<'admin', ListenerConfig | false> & {
      readonly mqtts: DeviceListenerConfig | false;
      readonly https: HttpsListenerConfig | false;
      readonly httpsSigned: DeviceListenerConfig | false;
      readonly mqttsSigned: DeviceListenerConfig | false;
      readonly est: DeviceListenerConfig | false;
      readonly status: DeviceListenerConfig | false;
    } & Record<string, unknown>
  >;
  readonly tls: {
    readonly minVersion: '1.2' | '1.3';
    readonly groups: readonly string[];
    readonly ticketRotation: string;
    readonly approvedOnly: boolean;
  };
  readonly ca: FilledCaStatus & {
    readonly masterKey: FilledSecret | undefined;
    readonly keyKind: CaKeyKind;
    readonly pkcs11: FilledPkcs11 | undefined;
    readonly deviceDays: number;
    readonly serverDays: number;
    readonly trustAnchors: readonly {
      readonly name: string;
      readonly file: string;
      readonly kind: PrincipalKind;
      readonly role: string;
      readonly from: 'cn' | 'san-dns' | 'san-uri' | 'serial-number';
      readonly prefix: string;
      readonly register: 'auto' | 'known';
      readonly crl: FilledRevocationLists | undefined;
    }[];
  };
  readonly enrolment: FilledEnrolment;
  readonly roles: Readonly<Record<string, RoleDocument>>;
  readonly routes: Readonly<Record<string, FilledRoute>>;
  readonly tokens: FilledTokens;
  readonly limits: Readonly<Record<string, string | number>> & {
    readonly identityRates: Readonly<Record<PrincipalKind, FilledRate>>;
  };
  readonly durability: 'flushed' | 'process';
  readonly logs: { readonly level: LogLevel };
  readonly metrics: { readonly token: FilledSecret | undefined };
  readonly anomaly: {
    readonly clones: {
      readonly rule: CloneRule;
      readonly window: string;
      readonly quarantinesPerHour: number;
    };
  };
  readonly workers: number | 'auto';
}

export interface CheckedText {
  readonly filled: FilledConfig;
  /** Whether the key was written, not filled in. */
  wrote(path: Path): boolean;
  problem(path: Path, message: string): Problem;
  /** @throws the SallyportError that lists `problems`, when there are any. */
  failIfAny(problems: readonly Problem[]): void;
}

const embedded = 'embedded defaults';

/**
 * The text of a configuration checked against the schema. Without a path the embedded defaults.
 * @throws SallyportError `invalid-config` that lists every problem.
 */
export function checkConfigText(configPath: string | undefined, text: string): CheckedText {
  const name = configPath ?? embedded;
  const source = readYaml(configPath === undefined ? '{}' : text);
  if (!source.ok) throw configError(name, source.problems);
  const { value, lineOf } = source;
  const problem = (path: Path, message: string): Problem => ({
    line: lineOf(path),
    path: pathText(path),
    message,
  });
  const failIfAny = (problems: readonly Problem[]): void => {
    if (problems.length > 0) {
      throw configError(
        name,
        problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)),
      );
    }
  };
  failIfAny(validateConfig(value).map(({ path, message }) => problem(path, message)));
  return {
    // The schema has accepted it and its defaults have been filled in.
    filled: fillDefaults(configSchema, value) as FilledConfig,
    wrote: (path) => {
      let at: unknown = value;
      for (const step of path) {
        if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return false;
        at = (at as Record<string | number, unknown>)[step];
      }
      return true;
    },
    problem,
    failIfAny,
  };
}

function pathText(path: Path): string {
  return path.map(String).map(printableKey).join('.');
}

function printableKey(key: string): string {
  return /^[\w$+-]{1,64}$/u.test(key) ? key : JSON.stringify(key.slice(0, 64));
}

/** @throws SallyportError `internal`: a text that the schema has accepted. */
export function accepted<T>(value: T | undefined): T {
  if (value === undefined)
    throw new SallyportError('internal', 'the schema accepted what it must not');
  return value;
}
