/** The steps of `npm run check`, and how steps are run: side by side, their output shown only when they fail. */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '..');

export interface Step {
  readonly name: string;
  /** Program and arguments; the program is one of `node_modules/.bin`, or the running Node when it is `node`. */
  readonly command: readonly [string, ...string[]];
}

interface StepResult {
  readonly step: Step;
  readonly passed: boolean;
  readonly seconds: number;
  readonly output: string;
}

/** Judged from the files alone, the slowest first so that the others fill the second core. */
export const staticSteps: readonly Step[] = [
  { name: 'lint', command: ['oxlint', '--deny-warnings'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'dead code', command: ['knip'] },
  { name: 'format', command: ['oxfmt', '--check'] },
];

export const unitStep: Step = {
  name: 'unit tests',
  command: [
    'node',
    '--test',
    '--test-concurrency=2',
    '--test-timeout=60000',
    'src/**/*.test.ts',
    'test/arch/**/*.test.ts',
  ],
};

/**
 * Runs every step, prints a table of names and seconds and then the output of those that failed.
 *
 * @returns whether all passed.
 */
export async function runSteps(steps: readonly Step[]): Promise<boolean> {
  const started = performance.now();
  const waiting = [...steps];
  const results: StepResult[] = [];
  const lane = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      results.push(await runStep(step));
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, lane));

  const width = Math.max(...steps.map((step) => step.name.length));
  const line = (name: string, seconds: number, verdict: string): string =>
    `  ${name.padEnd(width)}  ${seconds.toFixed(1).padStart(5)} s  ${verdict}\n`;
  for (const { step, passed, seconds } of results) {
    process.stdout.write(line(step.name, seconds, passed ? 'ok' : 'FAILED'));
  }
  process.stdout.write(line('together', (performance.now() - started) / 1000, ''));

  const failed = results.filter((result) => !result.passed);
  for (const { step, output } of failed) {
    process.stdout.write(`\n── ${step.name}: ${step.command.join(' ')}\n${output}`);
  }
  return failed.length === 0;
}

function runStep(step: Step): Promise<StepResult> {
  const started = performance.now();
  const [program, ...args] = step.command;
  const file = program === 'node' ? process.execPath : join(root, 'node_modules', '.bin', program);
  const child = spawn(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  const keep = (chunk: Buffer): void => {
    chunks.push(chunk);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  return new Promise((resolve) => {
    const finish = (passed: boolean, note: string): void =>
      resolve({
        step,
        passed,
        seconds: (performance.now() - started) / 1000,
        output: Buffer.concat(chunks).toString('utf8') + note,
      });
    child.once('error', (error) => finish(false, `${error.message}\n`));
    child.once('close', (code, signal) => finish(code === 0, signal === null ? '' : `${signal}\n`));
  });
}
