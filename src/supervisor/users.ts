/**
 * Started as root, control and the workers run as users of their own, so that a worker that is taken over cannot read
 * a key or write the registry. Made on first use; without root there is one trust domain, and `status` says so.
 */
import { execFileSync } from 'node:child_process';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { Privileges } from '../common/ipc/messages.ts';
import type { WingUsers } from './data-directory.ts';

/** @throws SallyportError `io` when started as root and the users neither exist nor can be made. */
export function wingUsers(say: (line: string) => void): WingUsers | undefined {
  if (process.getuid?.() !== 0) return undefined;
  return { control: ensureUser('sallyport-ctl', say), worker: ensureUser('sallyport-wrk', say) };
}

function ensureUser(name: string, say: (line: string) => void): Privileges {
  const known = lookUp(name);
  if (known !== undefined) return known;
  say(`making the system user ${name}`);
  try {
    execFileSync(
      'useradd',
      [
        '--system',
        '--user-group',
        '--no-create-home',
        '--home-dir',
        '/nonexistent',
        '--shell',
        '/usr/sbin/nologin',
        name,
      ],
      { stdio: 'pipe' },
    );
  } catch (error) {
    const made = lookUp(name);
    if (made !== undefined) return made;
    throw new SallyportError('io', `cannot make the system user ${name}: ${messageOf(error)}`, {
      hint: `make the users sallyport-ctl and sallyport-wrk yourself, or start the gateway without root`,
      cause: error,
    });
  }
  const made = lookUp(name);
  if (made === undefined)
    throw new SallyportError('io', `the system user ${name} was made but cannot be found`);
  return made;
}

function lookUp(name: string): Privileges | undefined {
  const id = (flag: string): number | undefined => {
    try {
      const text = execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] });
      const value = Number(text.toString().trim());
      return Number.isSafeInteger(value) && value > 0 ? value : undefined;
    } catch {
      return undefined;
    }
  };
  const uid = id('-u');
  const gid = id('-g');
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}
