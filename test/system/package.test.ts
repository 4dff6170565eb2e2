import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';

const root = join(import.meta.dirname, '..', '..');
const version = (
  JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
).version;

/** Without this checkout's own programs: the package must find its Node by itself. */
const foreignPath = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter);

/** What it wrote; a failure shows everything it said. */
function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = { ...process.env, PATH: foreignPath },
): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: 'utf8' });
  assert.equal(status, 0, `${program} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

describe('the package, installed in an empty folder', () => {
  let scratch = '';
  let files: string[] = [];

  before(() => {
    scratch = mkdtempSync(join(tmpdir(), 'package-'));
    // Built from a copy: a test leaves the checkout, dist/ included, as it was.
    const checkout = join(scratch, 'checkout');
    mkdirSync(checkout);
    const parts = [
      'package.json',
      'tsconfig.json',
      'tsconfig.build.json',
      'LICENSE',
      'bin',
      'deploy',
      'scripts',
      'src',
    ];
    for (const part of parts) cpSync(join(root, part), join(checkout, part), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
    run('npm', ['pack', '--pack-destination', scratch], checkout, process.env);
    const tarball = join(scratch, `sallyport-${version}.tgz`);
    files = run('tar', ['tzf', tarball], scratch, process.env).trimEnd().split('\n');

    const elsewhere = join(scratch, 'elsewhere');
    mkdirSync(elsewhere);
    run('npm', ['install', tarball, '--ignore-scripts', '--no-audit', '--no-fund'], elsewhere);
    rmSync(checkout, { recursive: true });
  });
  after(() => rmSync(scratch, { recursive: true, force: true }));

  const sallyport = (...args: string[]): string =>
    run(join(scratch, 'elsewhere', 'node_modules', '.bin', 'sallyport'), args, '/');

  test('contains what runs and no source, test or tool', () => {
    const kept =
      /^package\/(?:bin\/sallyport|deploy\/.+|dist\/.+|package\.json|LICENSE|README\.md)$/;
    assert.deepEqual(
      files.filter((file) => !kept.test(file) || /\.ts$|\.test\./.test(file)),
      [],
    );
  });

  test('contains nothing that only tests stand on', () => {
    const supports =
      /\/(?:fake-[^/]+|memory-[^/]+|[^/]*test-support|[^/]+-contract|session-world|peering-group)\.js$/;
    assert.deepEqual(
      files.filter((file) => supports.test(file)),
      [],
    );
  });

  test('contains the entry points of all processes', () => {
    for (const name of ['cli', 'control', 'worker']) {
      assert.ok(files.includes(`package/dist/${name}/main.js`), `dist/${name}/main.js`);
    }
  });

  test('brings no tool that only developers need', () => {
    const modules = join(scratch, 'elsewhere', 'node_modules');
    for (const name of ['typescript', 'oxlint', 'oxfmt', 'knip', 'esbuild', 'mqtt', 'fast-check']) {
      assert.ok(!existsSync(join(modules, name)), name);
    }
  });

  test('tells its version', () => {
    assert.equal(sallyport('--version').trim(), version);
  });

  test('tells its commands', () => {
    assert.match(sallyport('--help'), /Usage: sallyport[^]*\bup\b[^]*\bdevice\b/);
  });
});
