import type { Command } from 'commander';
import type { ReloadResult } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { visible } from '../table.ts';

export function addReload(program: Command, run: Run): void {
  program
    .command('reload')
    .description('apply the changed configuration, or keep the last good one and say why')
    .option('--processes', 'start new processes and drain the old ones, for an upgrade')
    .action(({ processes }: { readonly processes?: true }) =>
      run(async (context) => {
        const gateway = new Gateway(context);
        if (processes === true) {
          await gateway.replaceProcesses();
          print(context, { replaced: true }, () => 'All processes have been replaced.\n');
          return 0;
        }
        const result = await gateway.reload();
        print(context, result, () => reloadText(result));
        return 0;
      }),
    );
}

function reloadText({ changed, pending }: ReloadResult): string {
  const applied = changed.map((line) => `changed: ${visible(line)}\n`);
  const waiting = pending.map(
    (line) => `not yet in effect: ${visible(line)} (use reload --processes or restart)\n`,
  );
  const lines = [...applied, ...waiting].join('');
  return lines === '' ? 'Nothing changed.\n' : lines;
}
