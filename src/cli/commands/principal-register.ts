/** Identities without a certificate: they prove by a registered key who they are. */
import type { Command } from 'commander';
import { principalName, principalParts } from '../../common/base/principal.ts';
import type { RegisteredIdentity } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

export function addDeviceRegister(group: Command, run: Run): void {
  group
    .command('register')
    .description('make devices known that sign with a key and have no certificate')
    .argument('<id...>')
    .action((ids: string[]) => run((context) => register(context, 'device', ids, undefined)));
}

export function addServiceRegister(group: Command, run: Run): void {
  group
    .command('register')
    .description('make a service known that signs with a key and has no certificate')
    .argument('<name>')
    .requiredOption('--role <role>', 'what it may do; "backend" is built in')
    .action((name: string, { role }: { readonly role: string }) =>
      run((context) => register(context, 'service', [name], role)),
    );
}

async function register(
  context: CommandContext,
  kind: 'device' | 'service',
  ids: readonly string[],
  role: string | undefined,
): Promise<0> {
  // All of them before the first is registered: half a list helps nobody.
  for (const id of ids) principalName(kind, id);
  const gateway = new Gateway(context);
  const registered: RegisteredIdentity[] = [];
  for (const id of ids) registered.push(await gateway.register(kind, id, role));
  print(context, registered, () => registered.map(registeredText).join(''));
  return 0;
}

function registeredText({ name, created }: RegisteredIdentity): string {
  const { kind, id } = principalParts(name);
  return created
    ? `${name} is registered. Give it a key: sallyport ${kind} key add ${id}\n`
    : `${name} was registered already.\n`;
}
