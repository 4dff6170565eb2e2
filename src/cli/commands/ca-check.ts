import type { Command } from 'commander';
import type { IssuedProblem } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';

/** Nobody reads more, and whoever has more begins with the first. */
const maxProblems = 10_000;

export function addCaCheck(group: Command, run: Run): void {
  group
    .command('check')
    .description('judge everything that was ever issued again, by other means')
    .action(() =>
      run(async (context) => {
        let checked = 0;
        const problems: IssuedProblem[] = [];
        const found = new Gateway(context).checkIssued((count) => {
          checked = count;
        });
        for await (const problem of found) {
          problems.push(problem);
          if (problems.length === maxProblems) break;
        }
        print(context, { checked, problems }, () => textOf(checked, problems));
        return problems.length === 0 ? 0 : 1;
      }),
    );
}

function textOf(checked: number, problems: readonly IssuedProblem[]): string {
  const count = `${checked} ${checked === 1 ? 'certificate' : 'certificates'} checked`;
  if (problems.length === 0) return `${count}: each is what it should be.\n`;
  const rows = problems.map(({ serial, principal, problem }) => [serial, principal, problem]);
  return `${formatTable(['SERIAL', 'IDENTITY', 'PROBLEM'], rows)}
${count}. Revoke the identities with "device revoke" or "service revoke", and enrol them anew.
`;
}
