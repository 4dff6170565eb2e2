/** Where a secret lies that the configuration names: a file, a systemd credential, or a variable that holds a path. */
import { dirname, join, resolve } from 'node:path';
import { SallyportError } from '../base/errors.ts';
import type { SecretSource } from './config.ts';
import type { FilledSecret } from './filled-config.ts';

/** A secret as the schema has accepted it. Files are relative to the configuration. */
export function secretSource(
  written: FilledSecret | undefined,
  configPath: string | undefined,
): SecretSource | undefined {
  const { file, credential, environment } = written ?? {};
  if (credential !== undefined) return { credential };
  if (environment !== undefined) return { environment };
  if (file === undefined) return undefined;
  return { file: configPath === undefined ? file : resolve(dirname(configPath), file) };
}

/**
 * The permission bits that the file of a secret must not have. A file is its owner's alone; credentials and mounted
 * secrets may be readable by a group that the service manager chose, but nobody else may write them.
 */
export function forbiddenMode(source: SecretSource): number {
  return 'file' in source ? 0o077 : 0o022;
}

/** @throws SallyportError `no-key` when the source names nothing. */
export function secretPath(
  source: SecretSource,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  if ('file' in source) return source.file;
  if ('credential' in source) {
    const directory = environment['CREDENTIALS_DIRECTORY'];
    // A credential is a plain file of that folder; a separator would leave it.
    if (directory === undefined || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(source.credential)) {
      throw new SallyportError('no-key', `no systemd credential "${source.credential}"`, {
        hint: `add LoadCredential=${source.credential}:… to the unit`,
      });
    }
    return join(directory, source.credential);
  }
  const path = environment[source.environment];
  if (path === undefined || path === '') {
    throw new SallyportError('no-key', `the variable ${source.environment} names no file`, {
      hint: `set ${source.environment} to the path of the secret's file`,
    });
  }
  return path;
}
