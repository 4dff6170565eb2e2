import type { Command } from 'commander';
import type { PrincipalView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { keyTable } from '../key-table.ts';
import { print } from '../print.ts';
import { formatFields, formatTable, formatTime } from '../table.ts';

export function addDeviceShow(group: Command, run: Run): void {
  group
    .command('show')
    .description('show one device, its certificates and its keys')
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
    ...(view.clone === undefined
      ? []
      : [
          [
            'suspected clone',
            `${formatTime(view.clone.at)} from ${view.clone.addresses.join(' and ')}`,
          ] as const,
        ]),
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
  const keys = view.keys.length === 0 ? '' : `\n${keyTable(view.keys)}`;
  return `${fields}\n${certificates}${keys}`;
}
