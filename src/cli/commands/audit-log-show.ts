import type { Command } from 'commander';
import type { AuditLine } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';
import { wholeNumber } from '../whole-number.ts';

interface ShowOptions {
  readonly after: string;
  readonly limit: string;
}

export function addAuditLogShow(group: Command, run: Run): void {
  group
    .command('show')
    .description('show the lines of the audit log, oldest first')
    .option('--after <seq>', 'only lines after this one', '0')
    .option('--limit <n>', 'at most so many lines', '1000')
    .action(({ after, limit }: ShowOptions) =>
      run(async (context) => {
        const lines = await collect(
          new Gateway(context),
          wholeNumber('--after', after),
          wholeNumber('--limit', limit),
        );
        print(context, lines, () => auditText(lines));
        return 0;
      }),
    );
}

async function collect(gateway: Gateway, after: number, limit: number): Promise<AuditLine[]> {
  const lines: AuditLine[] = [];
  while (lines.length < limit) {
    const page = await gateway.auditLines(lines.at(-1)?.seq ?? after, limit - lines.length);
    if (page.length === 0) break;
    lines.push(...page);
  }
  return lines;
}

function auditText(lines: readonly AuditLine[]): string {
  return formatTable(
    ['SEQ', 'AT', 'ACTOR', 'ACTION', 'TARGET', 'DETAIL'],
    lines.map(({ seq, at, actor, action, target, detail }) => [
      String(seq),
      at,
      actor,
      action,
      target,
      detail === undefined || detail === null ? '' : JSON.stringify(detail),
    ]),
  );
}
