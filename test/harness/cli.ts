/** Runs `bin/sallyport` as a user would. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const repositoryRoot = join(import.meta.dirname, '..', '..');
const launcher = join(repositoryRoot, 'bin', 'sallyport');

export interface CliResult {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** What `--json` printed. */
  readonly json: () => unknown;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Octal; the caller's when it is left out. */
  readonly umask?: string;
}

/** A command that hangs is a failure of the test, not of the whole run. */
const limitMs = 120_000;

export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const [program, ...rest] = commandLine(args, options.umask);
  const child = spawn(program, rest, {
    cwd: options.cwd ?? repositoryRoot,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      resolve({
        code: code ?? undefined,
        stdout,
        stderr,
        json: () => JSON.parse(stdout) as unknown,
      }),
    );
  });
}

/** The launcher and its arguments; under another umask by way of a shell, which becomes the launcher. */
export function commandLine(
  args: readonly string[],
  umask: string | undefined,
): [string, ...string[]] {
  if (umask === undefined) return [launcher, ...args];
  return ['/bin/sh', '-c', `umask ${umask}; exec "$@"`, 'sh', launcher, ...args];
}
