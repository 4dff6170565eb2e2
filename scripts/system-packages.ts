/**
 * The Debian packages whose programs the tests and the benchmarks use as independent peers. These lists are the only
 * place that names them.
 *
 * A package counts as present when its program is there, whoever installed it: the program is what is needed.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

interface SystemPackage {
  readonly name: string;
  /** Its name, or the path of a library that stands for the package. */
  readonly program: string;
  /** A daemon that the package would start. */
  readonly service?: string;
}

const mosquitto: SystemPackage = {
  name: 'mosquitto',
  program: 'mosquitto',
  service: 'mosquitto.service',
};

/** Debian's name of the machine in the paths of its libraries. */
const multiarch = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

const testPackages: readonly SystemPackage[] = [
  { name: 'curl', program: 'curl' },
  { name: 'dbus-daemon', program: 'dbus-daemon' },
  { name: 'faketime', program: 'faketime' },
  { name: 'g++', program: 'g++' },
  { name: 'iproute2', program: 'ip' },
  // Without it strongSwan's `pki` knows no elliptic curve; its package only recommends it.
  {
    name: 'libstrongswan-standard-plugins',
    program: '/usr/lib/ipsec/plugins/libstrongswan-openssl.so',
  },
  { name: 'libtss2-tcti-tabrmd0', program: `/usr/lib/${multiarch}/libtss2-tcti-tabrmd.so.0` },
  { name: 'make', program: 'make' },
  mosquitto,
  { name: 'mosquitto-clients', program: 'mosquitto_pub' },
  { name: 'openssl', program: 'openssl' },
  { name: 'paho.mqtt.c-examples', program: 'paho_c_pub' },
  { name: 'procps', program: 'ps' },
  { name: 'python3', program: 'python3' },
  {
    name: 'python3-paho-mqtt',
    program: '/usr/lib/python3/dist-packages/paho/mqtt/client.py',
  },
  { name: 'softhsm2', program: 'softhsm2-util' },
  { name: 'strongswan-pki', program: 'pki' },
  { name: 'swtpm', program: 'swtpm' },
  { name: 'tpm2-abrmd', program: 'tpm2-abrmd', service: 'tpm2-abrmd.service' },
  { name: 'tpm2-openssl', program: `/usr/lib/${multiarch}/ossl-modules/tpm2.so` },
  { name: 'tpm2-tools', program: 'tpm2_createprimary' },
];

export const benchPackages: readonly SystemPackage[] = [
  mosquitto,
  { name: 'nginx-light', program: 'nginx', service: 'nginx.service' },
  {
    name: 'libnginx-mod-http-lua',
    program: '/usr/lib/nginx/modules/ngx_http_lua_module.so',
  },
  { name: 'lua-cjson', program: `/usr/lib/${multiarch}/lua/5.1/cjson.so` },
  { name: 'openssl', program: 'openssl' },
  { name: 'util-linux', program: 'taskset' },
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
export function provideSystemPackages(
  host: Host = thisHost,
  packages: readonly SystemPackage[] = testPackages,
): string | undefined {
  const absent = missingOn(host, packages);
  const missing = absent.map(({ name }) => name);
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
  for (const { service } of absent) {
    if (service === undefined || !host.isInstalled('systemctl')) continue;
    // Servers are started on free ports when they are needed; the package's would hold a port for nothing. Where
    // systemd does not run, nothing was started and the failure of this is of no account.
    host.run('systemctl', ['disable', '--now', service]);
  }
  const still = missingOn(host, packages).map(({ name }) => name);
  return still.length === 0 ? undefined : `installed, but still not found: ${still.join(' ')}`;
}

function missingOn(host: Host, packages: readonly SystemPackage[]): SystemPackage[] {
  return packages.filter(({ program }) => !host.isInstalled(program));
}

const thisHost: Host = {
  isRoot: process.getuid?.() === 0,
  isInstalled: (program) =>
    isAbsolute(program)
      ? existsSync(program)
      : searchPath.some((folder) => isExecutable(join(folder, program))),
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
