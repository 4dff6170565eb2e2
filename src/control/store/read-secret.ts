/** A secret that the configuration names and never holds. Read while control may still read the operator's files. */
import { SallyportError } from '../../common/base/errors.ts';
import type { SecretSource } from '../../common/config/config.ts';
import { readGuarded } from './files.ts';
import { forbiddenMode, secretPath } from '../../common/config/secret-path.ts';

const maxSecretBytes = 4096;

/** @returns the text without the line end. @throws SallyportError `no-key` when there is none or others can get at it. */
export function readSecret(
  source: SecretSource,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const path = secretPath(source, environment);
  const file = readGuarded(path, maxSecretBytes);
  const text = file?.content.toString('utf8').trimEnd() ?? '';
  if (file === undefined || text === '') {
    throw new SallyportError('no-key', `no secret at ${path}`, {
      hint: 'write it there, readable by its owner only',
    });
  }
  if ((file.mode & forbiddenMode(source)) !== 0) {
    throw new SallyportError('no-key', `others can get at the secret ${path}`, {
      hint: `run: chmod 600 ${path}`,
    });
  }
  return text;
}
