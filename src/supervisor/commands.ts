/**
 * How control and the workers are started: entry points, Node flags, the narrowest permissions that Node's own model
 * can express. User ids are the boundary; the permission model is a seat belt on top.
 */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, extname, join, sep } from 'node:path';
import type { ChildCommand } from './child.ts';
import type { DataDirectory } from './data-directory.ts';
import type { OperatorFiles } from './operator-files.ts';

const workerFrameBytes = 1024 * 1024;
const controlFrameBytes = 256 * 1024 * 1024;

/**
 * MiB of each half of V8's young generation. Connections outlive two collections of it, whatever its size: left alone, it
 * grows to 50 MB a worker with 2,500 sessions (87 kB a session; 67 with this), and a handshake costs 5 % more.
 */
const youngGeneration = '--max-semi-space-size=2';

/** Of libuv's pool. */
const defaultThreads = 4;

const sourceFile = import.meta.filename;
const sourceRoot = dirname(import.meta.dirname);
/** `.ts` in a checkout, `.js` in a package. */
const extension = extname(sourceFile);

export function workerCommand(data: DataDirectory): ChildCommand {
  return {
    entry: join(sourceRoot, 'worker', `main${extension}`),
    directory: data.worker,
    nodeFlags: [...commonFlags(data.worker), '--allow-addons', youngGeneration, ...opensslFlags()],
    environment: {},
    maxFrameBytes: workerFrameBytes,
  };
}

export function controlCommand(
  data: DataDirectory,
  { secrets, revocationLists, environment, tokenSessions }: OperatorFiles,
): ChildCommand {
  const hasToken = tokenSessions > 0;
  // A token that hangs holds a thread for each session; name lookups need threads that are left.
  const threads = { UV_THREADPOOL_SIZE: String(tokenSessions + defaultThreads) };
  return {
    entry: join(sourceRoot, 'control', `main${extension}`),
    directory: data.control,
    nodeFlags: [
      ...commonFlags(data.control),
      ...(hasToken ? ['--allow-addons'] : []),
      ...[...secrets, ...revocationLists].map((file) => `--allow-fs-read=${file}`),
    ],
    environment: hasToken ? { ...environment, ...threads } : environment,
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
    `--allow-fs-read=${join(dirname(sourceRoot), 'package.json')}`,
    `--allow-fs-read=${directory}`,
    `--allow-fs-read=${directory}${sep}*`,
    `--allow-fs-write=${directory}`,
    `--allow-fs-write=${directory}${sep}*`,
  ];
}

/**
 * Where the code and the packages that it loads lie, and nothing else: the default data directory and a laboratory's
 * keys are in the same checkout. An installed package has its packages beside it.
 */
function codeFolders(): string[] {
  const packageRoot = dirname(sourceRoot);
  const marker = `${sep}node_modules${sep}`;
  const at = packageRoot.indexOf(marker);
  const packages = join(at < 0 ? packageRoot : packageRoot.slice(0, at), 'node_modules');
  const folders = [sourceRoot, join(packageRoot, 'deploy')];
  // It may be a link to somewhere else.
  return existsSync(packages) ? [...folders, packages, realpathSync(packages)] : folders;
}

/** One session ticket a handshake instead of two: see deploy/openssl.cnf. */
function opensslFlags(): string[] {
  const file = join(dirname(sourceRoot), 'deploy', 'openssl.cnf');
  return existsSync(file) ? [`--openssl-config=${file}`] : [];
}
