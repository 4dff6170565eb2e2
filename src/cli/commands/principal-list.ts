import type { Command } from 'commander';
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { PrincipalView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable, formatTime } from '../table.ts';

export function addList(group: Command, run: Run, kind: PrincipalKind): void {
  group
    .command('list')
    .description(`list all ${kind}s`)
    .action(() =>
      run(async (context) => {
        const principals = await new Gateway(context).principals(kind);
        print(context, principals, () => listText(principals));
        return 0;
      }),
    );
}

function listText(principals: readonly PrincipalView[]): string {
  return formatTable(
    ['ID', 'STANDING', 'ROLE', 'CREATED', 'SEEN', 'EXPIRES', 'REASON'],
    principals.map((view) => [
      view.id,
      view.standing,
      view.role,
      formatTime(view.createdAt),
      formatTime(view.seenAt),
      formatTime(lastExpiry(view)),
      view.reason ?? '',
    ]),
  );
}

/** When the last certificate that is still good runs out; undefined when there is none. */
function lastExpiry(view: PrincipalView): number | undefined {
  const good = view.certificates.filter(({ revokedAt }) => revokedAt === undefined);
  return good.length === 0 ? undefined : Math.max(...good.map(({ notAfter }) => notAfter));
}
