/**
 * How control and the workers are started: entry points, Node flags, the narrowest permissions that Node's own model
 * can express. User ids are the boundary; the permission model is a seat belt on top.
 */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, extname, join, sep } from 'node:path';
import type { ChildCommand } from './child.ts';
import type { DataDirectory } from './data-directory.ts';

const workerFrameBytes = 1024 * 1024;
const controlFrameBytes = 256 * 1024 * 1024;

const sourceFile = import.meta.filename;
const sourceRoot = dirname(import.meta.dirname);
/** `.ts` in a checkout, `.js` in a package. */
const extension = extname(sourceFile);

export function workerCommand(data: DataDirectory): ChildCommand {
  return {
    entry: join(sourceRoot, 'worker', `main${extension}`),
    directory: data.worker,
    nodeFlags: [...commonFlags(data.worker), '--allow-addons', ...opensslFlags()],
    environment: {},
    maxFrameBytes: workerFrameBytes,
  };
}

export function controlCommand(data: DataDirectory, environment: NodeJS.ProcessEnv): ChildCommand {
  return {
    entry: join(sourceRoot, 'control', `main${extension}`),
    directory: data.control,
    nodeFlags: commonFlags(data.control),
    environment: pathsOnly(environment),
    maxFrameBytes: controlFrameBytes,
  };
}

function commonFlags(directory: string): string[] {
  return [
    '--disable-warning=ExperimentalWarning',
    '--disable-warning=PERM0001',
    '--permission',
    '--allow-net',
    ...codeFolders().map((folder) => `--allow-fs-read=${folder}${sep}*`),
    `--allow-fs-read=${directory}`,
    `--allow-fs-read=${directory}${sep}*`,
    `--allow-fs-write=${directory}`,
    `--allow-fs-write=${directory}${sep}*`,
  ];
}

/** Where the code and the packages that it loads lie; an installed package has its packages beside it. */
function codeFolders(): string[] {
  const packageRoot = dirname(sourceRoot);
  const marker = `${sep}node_modules${sep}`;
  const at = packageRoot.indexOf(marker);
  const root = at < 0 ? packageRoot : packageRoot.slice(0, at);
  const packages = join(root, 'node_modules');
  // It may be a link to somewhere else.
  return existsSync(packages) ? [root, realpathSync(packages)] : [root];
}

/** One session ticket a handshake instead of two: see deploy/openssl.cnf. */
function opensslFlags(): string[] {
  const file = join(dirname(sourceRoot), 'deploy', 'openssl.cnf');
  return existsSync(file) ? [`--openssl-config=${file}`] : [];
}

/**
 * Control finds its master key by a credential or by a variable that names a file. Variables that hold anything but an
 * absolute path stay behind: a secret in an environment can be read by too many.
 */
function pathsOnly(environment: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && value.startsWith('/') && !value.includes(':')) kept[name] = value;
  }
  return kept;
}
