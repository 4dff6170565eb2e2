/** A configured PKCS#11 token, checked: what the schema cannot say. */
import { dirname, resolve } from 'node:path';
import type { Pkcs11Config } from './config.ts';
import { accepted } from './filled-config.ts';
import type { FilledPkcs11 } from './filled-config.ts';
import { secretSource } from './secret-path.ts';
import { durationMs } from './units.ts';

/**
 * @param configPath what a relative path of the library is relative to.
 * @param fail told of a problem with the key of that name.
 * @returns undefined when there is none or it is unfit.
 */
export function parsePkcs11(
  written: FilledPkcs11 | undefined,
  configPath: string | undefined,
  fail: (key: string, message: string) => void,
): Pkcs11Config | undefined {
  if (written === undefined) return undefined;
  const { module, token, pin, prefix, sessions, waiting, environment } = written;
  if (token.trim() === '' || token !== token.trim()) {
    fail('token', 'is not a label: it is empty, or begins or ends with a blank');
  }
  const source = secretSource(pin, configPath);
  if (source === undefined) return undefined;
  return {
    module: configPath === undefined ? module : resolve(dirname(configPath), module),
    token,
    pin: source,
    prefix,
    sessions,
    waiting,
    timeoutMs: accepted(durationMs(written.timeout)),
    retryMs: accepted(durationMs(written.retry)),
    environment,
  };
}
