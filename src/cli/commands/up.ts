import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { printable } from '../../common/base/principal.ts';
import type { Run } from '../action.ts';
import type { ExitCode } from '../context.ts';

const maxWorkers = 64;

interface UpOptions {
  readonly config?: string;
  readonly workers?: string;
}

export function addUp(program: Command, run: Run): void {
  program
    .command('up')
    .description('run the gateway until it is told to stop')
    .option('--config <file>', 'configuration; without it the embedded defaults')
    .option('--workers <n>', 'worker processes; without it as configured')
    .action(({ config, workers }: UpOptions) =>
      run(async ({ dataDir }) => {
        const options = { configPath: config, dataDir, workers: workerCount(workers) };
        // Loaded on demand: the other commands start without the supervisor's code.
        const { runSupervisor } = await import('../../supervisor/main.ts');
        return exitCode(await runSupervisor(options));
      }),
    );
}

function workerCount(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (/^\d{1,3}$/.test(text) && count >= 1 && count <= maxWorkers) return count;
  throw new SallyportError('usage', `"${printable(text)}" is no number of workers`, {
    hint: `use 1 to ${maxWorkers}`,
  });
}

function exitCode(code: number): ExitCode {
  return code === 0 ? 0 : 1;
}
