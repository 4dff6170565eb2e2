/**
 * Identities with their keys, for laboratories: the one place where a private key is made on the gateway's side.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { makeDirectory, writeKeyFile, writePublicFile } from '../files.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

interface CreatedFiles {
  readonly name: string;
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
  readonly serial: string;
  readonly notAfter: number;
}

export function addDeviceCreate(group: Command, run: Run): void {
  group
    .command('create')
    .description('laboratory only: make devices with keys that are made here')
    .argument('<id...>')
    .requiredOption('--out <dir>', 'folder for ID.key, ID.crt and ca.crt')
    .action((ids: string[], { out }: { readonly out: string }) =>
      run((context) => create(context, 'device', ids, undefined, out)),
    );
}

export function addServiceCreate(group: Command, run: Run): void {
  group
    .command('create')
    .description('laboratory only: make a service with a key that is made here')
    .argument('<name>')
    .requiredOption('--role <role>', 'what it may do; "backend" is built in')
    .requiredOption('--out <dir>', 'folder for NAME.key, NAME.crt and ca.crt')
    .action((name: string, { role, out }: { readonly role: string; readonly out: string }) =>
      run((context) => create(context, 'service', [name], role, out)),
    );
}

async function create(
  context: CommandContext,
  kind: PrincipalKind,
  ids: readonly string[],
  role: string | undefined,
  out: string,
): Promise<0> {
  makeDirectory(out);
  // All of them before the first is made: half a list of devices helps nobody.
  for (const id of ids) assertFree(kind, id, out);
  const gateway = new Gateway(context);
  const created: CreatedFiles[] = [];
  for (const id of ids) {
    const identity = await gateway.createLab(kind, id, role);
    const files = filesOf(id, out);
    writeKeyFile(files.key, identity.privateKey);
    writePublicFile(files.certificate, identity.certificateChain);
    writePublicFile(files.ca, identity.root);
    const { name, serial, notAfter } = identity;
    created.push({ name, ...files, serial, notAfter });
  }
  print(context, created, () => createdText(created));
  return 0;
}

function filesOf(id: string, out: string) {
  return {
    key: join(out, `${id}.key`),
    certificate: join(out, `${id}.crt`),
    ca: join(out, 'ca.crt'),
  };
}

function assertFree(kind: PrincipalKind, id: string, out: string): void {
  principalName(kind, id);
  const { key, certificate } = filesOf(id, out);
  for (const path of [key, certificate]) {
    if (!existsSync(path)) continue;
    throw new SallyportError('already-exists', `${path} is there already and is not overwritten`, {
      hint: 'move it away, or name another folder with --out',
    });
  }
}

function createdText(created: readonly CreatedFiles[]): string {
  const lines = created.map(({ name, key, certificate }) => `${name}: ${key}, ${certificate}\n`);
  const ca = created[0]?.ca ?? '';
  return `${lines.join('')}The root that clients trust: ${ca}
For laboratories only: the keys were made here. In the field a device makes its own and sends a CSR (device enroll).
`;
}
