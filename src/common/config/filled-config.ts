/** The shape that the schema and its defaults guarantee; quantities are still texts. A test holds it to the schema. */
import type { PrincipalKind } from '../base/principal.ts';
import { SallyportError } from '../base/errors.ts';
import type { LogLevel } from './config.ts';
import { configSchema } from './config-schema.ts';
import { fillDefaults } from './fill-defaults.ts';
import type { RoleDocument } from './policy-document.ts';
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

export interface FilledRoute {
  readonly match: string | undefined;
  readonly schema: string | undefined;
  readonly rate: FilledRate;
  readonly payloadBytes: string | undefined;
  readonly breaker:
    | { readonly failures: number; readonly within: string; readonly open: string }
    | undefined;
}

/** Exactly one of them is there. */
export interface FilledSecret {
  readonly file?: string | undefined;
  readonly credential?: string | undefined;
  readonly environment?: string | undefined;
}

export interface FilledConfig {
  readonly trustDomain: string;
  readonly serverNames: readonly string[];
  /** Of the listeners that do not exist yet, whatever was written. */
  readonly listeners: Readonly<
    Record<'mqtts' | 'admin', { readonly host: string; readonly port: number } | false> &
      Record<string, unknown>
  >;
  readonly tls: { readonly minVersion: '1.2' | '1.3'; readonly groups: readonly string[] };
  readonly ca: {
    readonly masterKey: FilledSecret | undefined;
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
    }[];
  };
  readonly enrolment: { readonly csrBytes: string };
  readonly roles: Readonly<Record<string, RoleDocument>>;
  readonly routes: Readonly<Record<string, FilledRoute>>;
  readonly limits: Readonly<Record<string, string | number>> & {
    readonly identityRates: Readonly<Record<PrincipalKind, FilledRate>>;
  };
  readonly durability: 'flushed' | 'process';
  readonly logs: { readonly level: LogLevel };
  readonly metrics: { readonly token: FilledSecret | undefined };
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
