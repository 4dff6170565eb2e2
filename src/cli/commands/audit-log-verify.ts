import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import type { AuditVerdict } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

export function addAuditLogVerify(group: Command, run: Run): void {
  group
    .command('verify')
    .description('find a line of the audit log that was changed, removed or cut off')
    .action(() =>
      run(async (context) => {
        const verdict = await verdictOf(context);
        print(context, verdict, () =>
          verdict.ok ? `${verdict.lines} lines, all as written.\n` : '',
        );
        if (!verdict.ok) throw tampered(verdict);
        return 0;
      }),
    );
}

/** Of the running gateway, or from its files when it does not run. */
async function verdictOf(context: CommandContext): Promise<AuditVerdict> {
  try {
    return await new Gateway(context).verifyAuditLog();
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'not-running') throw error;
    const { verifyStoredAuditLog } = await import('../stored-audit-log.ts');
    return verifyStoredAuditLog(context.dataDir, error);
  }
}

function tampered({ line, problem = 'does not hold' }: AuditVerdict): SallyportError {
  const named = line === undefined || problem.includes(`line ${line}`);
  const what = named ? problem : `line ${line}: ${problem}`;
  return new SallyportError('tampered', `audit.jsonl: ${what}`, {
    hint: 'keep the file as it is, and find out who could write it',
  });
}
