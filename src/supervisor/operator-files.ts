/**
 * What control needs of the operator's own files and environment: the secrets and the revocation lists that the
 * configuration names, and nothing else. Control's permissions and its environment are cut to this.
 */
import { join, resolve } from 'node:path';
import type { Config, SecretSource } from '../common/config/config.ts';

export interface OperatorFiles {
  /** Absolute paths. */
  readonly secrets: readonly string[];
  /** The same, of what is read again and again. */
  readonly revocationLists: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Operations that a hardware token does at once; 0 = there is none, and no native code is allowed. */
  readonly tokenSessions: number;
}

export function operatorFiles(config: Config, environment: NodeJS.ProcessEnv): OperatorFiles {
  const secrets: string[] = [];
  const passed: Record<string, string> = {};
  const { pkcs11 } = config.ca;
  for (const source of [config.ca.masterKey, config.metrics.token, pkcs11?.pin]) {
    if (source === undefined) continue;
    const variable = variableOf(source);
    const value = variable === undefined ? undefined : environment[variable];
    if (variable !== undefined && value !== undefined) passed[variable] = value;
    const path = 'file' in source ? source.file : value;
    if (path === undefined || path === '') continue;
    secrets.push('credential' in source ? join(resolve(path), source.credential) : resolve(path));
  }
  for (const variable of pkcs11?.environment ?? []) {
    const value = environment[variable];
    if (value !== undefined) passed[variable] = value;
  }
  const revocationLists = config.ca.trustAnchors.flatMap(({ crl }) =>
    (crl?.from ?? []).flatMap((source) => ('file' in source ? [resolve(source.file)] : [])),
  );
  return { secrets, revocationLists, environment: passed, tokenSessions: pkcs11?.sessions ?? 0 };
}

/** The variable that says where the secret lies; its value is a path and never the secret. */
function variableOf(source: SecretSource): string | undefined {
  if ('environment' in source) return source.environment;
  return 'credential' in source ? 'CREDENTIALS_DIRECTORY' : undefined;
}
