/**
 * `npm test [-- PATH… | OPTION…]`: provides what the tests need, runs the static checks, then every test.
 *
 * With paths (files or folders) only their tests run and the static checks are left out. Options go to `node --test`,
 * for example `--test-name-pattern=revoke`. Nothing is ever left out in silence: a peer that is missing is a failure,
 * and so is a selection without a test.
 */
import { spawn, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, runSteps, staticSteps } from './steps.ts';
import { provideSystemPackages } from './system-packages.ts';

/** A run that hangs must end before whatever waits for it gives up. */
const totalMinutes = 28;
/** One test, and one file. */
const testMinutes = 5;
/** Between asking the runner to stop and killing it. */
const graceMs = 5_000;
const concurrency = 2;

const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const paths = args.filter((arg) => !arg.startsWith('-'));

process.exitCode = await main();

async function main(): Promise<number> {
  const missing = provideSystemPackages();
  if (missing !== undefined) return fail(missing);
  // The compiler may have come with the system packages just now.
  const build = join(import.meta.dirname, 'build-pkcs11.mjs');
  if (spawnSync(process.execPath, [build], { stdio: 'inherit' }).status !== 0) return 1;
  const files = testFiles();
  if (files.length === 0) return fail('no test there: name a *.test.ts file or a folder with some');
  if (args.length === 0 && !(await runSteps(staticSteps))) return 1;
  return runTests(files);
}

function testFiles(): string[] {
  const patterns = paths.length === 0 ? ['src', 'test'] : paths;
  return patterns
    .flatMap((path) => {
      const isFolder =
        statSync(join(root, path), { throwIfNoEntry: false })?.isDirectory() === true;
      return globSync(isFolder ? join(path, '**/*.test.ts') : path, { cwd: root });
    })
    .toSorted((a, b) => a.localeCompare(b));
}

function runTests(files: readonly string[]): Promise<number> {
  // Whatever a test forgets to remove goes with this folder. Short, because a unix socket's path has 107 bytes.
  const scratch = mkdtempSync(join(tmpdir(), 'sp-'));
  // What Node makes of a TypeScript file is kept for the run: thousands of processes start, each 0.5 s of CPU sooner.
  const compiled = mkdtempSync(join(tmpdir(), 'sp-compiled-'));
  const runner = spawn(
    process.execPath,
    [
      '--test',
      '--test-reporter=spec',
      `--test-concurrency=${concurrency}`,
      `--test-timeout=${testMinutes * 60_000}`,
      ...options,
      ...files,
    ],
    // A group of its own, so that what hangs can be ended together with what it started.
    {
      cwd: root,
      stdio: 'inherit',
      detached: true,
      env: { ...process.env, TMPDIR: scratch, NODE_COMPILE_CACHE: compiled },
    },
  );
  const signalGroup = (signal: NodeJS.Signals): void => {
    if (runner.pid === undefined) return;
    try {
      process.kill(-runner.pid, signal);
    } catch {
      // The group is gone already.
    }
  };
  let verdict: string | undefined;
  const stop = (reason: string, signal: NodeJS.Signals): void => {
    verdict ??= reason;
    signalGroup(signal);
    setTimeout(signalGroup, graceMs, 'SIGKILL').unref();
  };
  const limit = setTimeout(
    stop,
    totalMinutes * 60_000,
    `stopped after ${totalMinutes} min`,
    'SIGTERM',
  );
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => stop(`stopped by ${signal}`, signal));
  }
  return new Promise((resolve) => {
    const finish = (code: number): void => {
      clearTimeout(limit);
      // Nothing a test started may outlive the run.
      signalGroup('SIGKILL');
      for (const each of [scratch, compiled]) rmSync(each, { recursive: true, force: true });
      resolve(verdict === undefined ? code : fail(verdict));
    };
    runner.once('error', (error) => {
      verdict = error.message;
      finish(1);
    });
    runner.once('close', (code) => finish(code ?? 1));
  });
}

function fail(text: string): number {
  process.stderr.write(`sallyport: ${text}\n`);
  return 1;
}
