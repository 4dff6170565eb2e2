import type { Command } from 'commander';
import type { PrincipalView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatFields, formatTable, formatTime } from '../table.ts';

export function addDeviceShow(group: Command, run: Run): void {
  group
    .command('show')
    .description('show one device and its certificates')
    .argument('<id>')
    .action((id: string) =>
      run(async (context) => {
        const view = await new Gateway(context).principal('device', id);
        print(context, view, () => deviceText(view));
        return 0;
      }),
    );
}

function deviceText(view: PrincipalView): string {
  const fields = formatFields([
    ['name', view.name],
    ['standing', view.standing],
    ...(view.reason === undefined ? [] : [['reason', view.reason] as const]),
    ['role', view.role],
    ['vouched for by', view.anchor],
    ['created', formatTime(view.createdAt)],
    ['last seen', formatTime(view.seenAt)],
  ]);
  const certificates = formatTable(
    ['SERIAL', 'FROM', 'UNTIL', 'REVOKED'],
    view.certificates.map((certificate) => [
      certificate.serial,
      formatTime(certificate.notBefore),
      formatTime(certificate.notAfter),
      formatTime(certificate.revokedAt),
    ]),
  );
  return `${fields}\n${certificates}`;
}
