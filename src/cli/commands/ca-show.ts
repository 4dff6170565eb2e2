import type { Command } from 'commander';
import type { CaCertificateView, CaView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable, formatTime } from '../table.ts';

export function addCaShow(group: Command, run: Run): void {
  group
    .command('show')
    .description('show the certificates of the CA and of the gateway')
    .action(() =>
      run(async (context) => {
        const view = await new Gateway(context).ca();
        print(context, view, () => caText(view));
        return 0;
      }),
    );
}

function caText(view: CaView): string {
  const row = (
    name: string,
    { subject, serial, notAfter, sha256 }: CaCertificateView,
  ): string[] => [name, subject, serial, formatTime(notAfter), sha256];
  const rows = [
    ...(['root', 'issuing', 'server'] as const).map((name) => row(name, view[name])),
    ...view.older.map((certificate) => row('older', certificate)),
  ];
  const table = formatTable(['', 'SUBJECT', 'SERIAL', 'UNTIL', 'SHA-256'], rows);
  const where = view.rootKeyHere
    ? 'The root key is here, sealed on the disk or in the token of ca.pkcs11. "ca export-root FILE" takes it from the disk.'
    : 'The root key is not on this machine.';
  return `${table}\n${where}\n\n${view.root.pem}`;
}
