/** Where the master key comes from: a file of our own, a file the operator names, or a systemd credential. */
import { randomBytes } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';
import type { SecretSource } from '../../common/config/config.ts';
import { isPresent, readGuarded, writeFileAtomic } from './files.ts';
import { MasterKey, masterKeyBytes } from './master-key.ts';
import { forbiddenMode, secretPath } from '../../common/config/secret-path.ts';

/** Relative to the current directory: control's folder. */
const ownMasterKeyFile = 'master.key';
const maxFileBytes = 1024;

/**
 * With `source` undefined the key is control's own file, made on the first start. `sealedFolder` is what that key
 * opens: when it is there and the key is not, a new key would only hide the loss, so none is made.
 *
 * @throws SallyportError `no-key` when there is no key, it is not a key, or others than its owner can get at it.
 */
export function loadMasterKey(
  source: SecretSource | undefined,
  sealedFolder: string,
  environment: Readonly<Record<string, string | undefined>>,
): MasterKey {
  if (source === undefined && !isPresent(ownMasterKeyFile)) {
    if (isPresent(sealedFolder)) {
      throw new SallyportError('no-key', `${ownMasterKeyFile} is gone`, {
        hint: 'restore it from a backup: without it the CA keys cannot be opened',
      });
    }
    writeFileAtomic(ownMasterKeyFile, randomBytes(masterKeyBytes));
  }
  const path = source === undefined ? ownMasterKeyFile : secretPath(source, environment);
  const file = readGuarded(path, maxFileBytes);
  if (file === undefined) throw new SallyportError('no-key', `no master key at ${path}`);
  const forbidden = forbiddenMode(source ?? { file: path });
  if ((file.mode & forbidden) !== 0) {
    throw new SallyportError('no-key', `others can get at the master key ${path}`, {
      hint: `run: chmod 600 ${path}`,
    });
  }
  return new MasterKey(decodeKey(file.content, path));
}

/** 32 bytes as they are, or as 64 hex digits or base64 on one line. */
function decodeKey(content: Buffer, path: string): Buffer {
  if (content.length === masterKeyBytes) return content;
  const text = content.toString('latin1').trim();
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex');
  if (/^[A-Za-z0-9+/]{43}=$/.test(text)) return Buffer.from(text, 'base64');
  throw new SallyportError('no-key', `${path} is not a master key`, {
    hint: `make one with: head -c 32 /dev/urandom > ${path}`,
  });
}
