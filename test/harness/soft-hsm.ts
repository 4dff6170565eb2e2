/** A hardware security module made of software: SoftHSM 2 with one token. */
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface SoftHsm {
  readonly module: string;
  /** Label of the token. */
  readonly token: string;
  readonly pin: string;
  /** What the module needs in the environment of its process. */
  readonly environment: Readonly<Record<'SOFTHSM2_CONF', string>>;
  /** Makes one more token. */
  initToken(label: string): void;
  /** Runs a program of the module's in the right place and environment; what it printed. */
  run(program: string, ...args: readonly string[]): string;
  /** Files of objects in all tokens. */
  objects(): readonly string[];
}

export interface SoftHsmOptions {
  /** Working directory of the process that uses it: paths are relative to it, so that its user needs no way there. */
  readonly folder: string;
  /** User and group whose the token is to be; default the caller's. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

const token = 'sallyport-ca';
const pin = '4711-0815';

export function softHsm({ folder, owner }: SoftHsmOptions): SoftHsm {
  const tokens = join(folder, 'hsm');
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  writeFileSync(
    join(tokens, 'softhsm2.conf'),
    'directories.tokendir = hsm\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n',
  );
  if (owner !== undefined) {
    for (const path of [tokens, join(tokens, 'softhsm2.conf')]) {
      chownSync(path, owner.uid, owner.gid);
    }
  }
  const environment = { SOFTHSM2_CONF: 'hsm/softhsm2.conf' };
  const run = (program: string, ...args: readonly string[]): string =>
    execFileSync(program, args, {
      cwd: folder,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
      ...owner,
    });
  const initToken = (label: string): void => {
    run('softhsm2-util', '--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', pin);
  };
  initToken(token);
  return {
    module: '/usr/lib/softhsm/libsofthsm2.so',
    token,
    pin,
    environment,
    initToken,
    run,
    objects: () =>
      readdirSync(tokens, { recursive: true, encoding: 'utf8' }).filter(
        (file) => file.endsWith('.object') && !file.endsWith('token.object'),
      ),
  };
}
