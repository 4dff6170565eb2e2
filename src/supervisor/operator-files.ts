/**
 * What control needs of the operator's own files and environment: the secrets that the configuration names, and nothing
 * else. Control's permissions and its environment are cut to this.
 */
import { join, resolve } from 'node:path';
import type { Config, SecretSource } from '../common/config/config.ts';

export interface OperatorFiles {
  /** Absolute paths. */
  readonly secrets: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

export function operatorFiles(config: Config, environment: NodeJS.ProcessEnv): OperatorFiles {
  const secrets: string[] = [];
  const passed: Record<string, string> = {};
  for (const source of [config.ca.masterKey, config.metrics.token]) {
    if (source === undefined) continue;
    const variable = variableOf(source);
    const value = variable === undefined ? undefined : environment[variable];
    if (variable !== undefined && value !== undefined) passed[variable] = value;
    const path = 'file' in source ? source.file : value;
    if (path === undefined || path === '') continue;
    secrets.push('credential' in source ? join(resolve(path), source.credential) : resolve(path));
  }
  return { secrets, environment: passed };
}

/** The variable that says where the secret lies; its value is a path and never the secret. */
function variableOf(source: SecretSource): string | undefined {
  if ('environment' in source) return source.environment;
  return 'credential' in source ? 'CREDENTIALS_DIRECTORY' : undefined;
}
