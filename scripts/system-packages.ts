/**
 * The Debian packages whose programs the tests use as independent peers. This list is the only place that names them.
 *
 * A package counts as present when its program is there, whoever installed it: the tests need the program.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

interface SystemPackage {
  readonly name: string;
  readonly program: string;
}

const systemPackages: readonly SystemPackage[] = [
  { name: 'curl', program: 'curl' },
  { name: 'faketime', program: 'faketime' },
  { name: 'iproute2', program: 'ip' },
  { name: 'mosquitto', program: 'mosquitto' },
  { name: 'mosquitto-clients', program: 'mosquitto_pub' },
  { name: 'openssl', program: 'openssl' },
  { name: 'procps', program: 'ps' },
];

/** Daemons live in sbin, which is not on everybody's PATH. */
const searchPath = [
  ...(process.env['PATH'] ?? '').split(delimiter),
  '/usr/local/sbin',
  '/usr/sbin',
  '/sbin',
];

/** What this is about to change, apart so that a test can stand in for it. */
interface Host {
  readonly isRoot: boolean;
  isInstalled(program: string): boolean;
  /** @returns what the command wrote when it failed; undefined when it succeeded. */
  run(program: string, args: readonly string[]): string | undefined;
}

/**
 * Installs what is missing when it may.
 *
 * @returns what is still missing and what to do, one line; undefined when every program is there.
 */
export function provideSystemPackages(host: Host = thisHost): string | undefined {
  const missing = missingOn(host);
  if (missing.length === 0) return undefined;
  const names = missing.join(' ');
  if (!host.isRoot || !host.isInstalled('apt-get')) {
    return `system packages are missing: install them with "sudo apt-get install --no-install-recommends ${names}"`;
  }
  process.stderr.write(`sallyport: installing system packages: ${names}\n`);
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...missing]]) {
    const failure = host.run('apt-get', ['-q', ...args]);
    if (failure !== undefined) {
      process.stderr.write(failure);
      return `"apt-get ${args.join(' ')}" failed, see above`;
    }
  }
  if (missing.includes('mosquitto') && host.isInstalled('systemctl')) {
    // The tests start brokers of their own on free ports; the package's would hold 1883 for nothing. Where systemd
    // does not run, nothing was started and the failure of this is of no account.
    host.run('systemctl', ['disable', '--now', 'mosquitto.service']);
  }
  const still = missingOn(host);
  return still.length === 0 ? undefined : `installed, but still not found: ${still.join(' ')}`;
}

function missingOn(host: Host): string[] {
  return systemPackages.filter((each) => !host.isInstalled(each.program)).map((each) => each.name);
}

const thisHost: Host = {
  isRoot: process.getuid?.() === 0,
  isInstalled: (program) => searchPath.some((folder) => isExecutable(join(folder, program))),
  run(program, args) {
    const { status, stdout, stderr } = spawnSync(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
      // Run level 1 keeps init scripts from starting the daemon that a package brings.
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
    return status === 0 ? undefined : `${stdout}${stderr}`;
  },
};

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
