import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import type { CaRole, PinView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { arduinoPins, base64Pins, cPins } from '../pin-formats.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';

const roles: readonly CaRole[] = ['root', 'issuing', 'server'];

const formats: ReadonlyMap<string, (pins: readonly PinView[]) => string> = new Map([
  ['table', pinTable],
  ['base64', base64Pins],
  ['c', cPins],
  ['arduino', arduinoPins],
]);

interface PinsOptions {
  readonly of?: string;
  readonly format: string;
}

export function addCaPins(group: Command, run: Run): void {
  group
    .command('pins')
    .description('show the current and the next key of the CA and the gateway, for firmware')
    .option('--of <key>', `one of: ${roles.join(', ')}; all when left out`)
    .option('--format <format>', `one of: ${[...formats.keys()].join(', ')}`, 'table')
    .action(({ of, format }: PinsOptions) =>
      run(async (context) => {
        const text = formats.get(format);
        if (text === undefined) throw unknown('--format', format, [...formats.keys()]);
        const role = roles.find((known) => known === of);
        if (of !== undefined && role === undefined) throw unknown('--of', of, roles);
        const pins = await new Gateway(context).pins(role);
        print(context, { pins }, () => text(pins));
        return 0;
      }),
    );
}

function pinTable(pins: readonly PinView[]): string {
  const rows = pins.map(({ role, which, sha256 }) => [role, which, sha256]);
  return `${formatTable(['KEY', '', 'PIN (SHA-256 OF THE PUBLIC KEY)'], rows)}
Build firmware with both pins of one key. The next rotation of that key changes to the next pin.
`;
}

function unknown(option: string, value: string, known: readonly string[]): SallyportError {
  return new SallyportError('usage', `${option} ${JSON.stringify(value)} is not known`, {
    hint: `use one of: ${known.join(', ')}`,
  });
}
