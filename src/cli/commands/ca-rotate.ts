import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import type { CaRole, RotationResult } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { readSmallFile } from '../files.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTime, visible } from '../table.ts';

const maxKeyFileBytes = 64 * 1024;

interface RotateOptions {
  readonly root?: boolean;
  readonly server?: boolean;
  readonly rootKey?: string;
  readonly force?: boolean;
}

export function addCaRotate(group: Command, run: Run): void {
  group
    .command('rotate')
    .description('bring the next issuing CA into service; those before it go on being trusted')
    .option('--root', 'a new root too, for which the present one vouches')
    .option('--server', "the gateway's own key and certificate, and no CA")
    .option('--root-key <file>', 'what "ca export-root" wrote, when the root key is not here')
    .option('--force', 'even if devices are cut off by it')
    .action((options: RotateOptions) =>
      run(async (context) => {
        const rootKeys =
          options.rootKey === undefined
            ? undefined
            : readSmallFile(options.rootKey, maxKeyFileBytes);
        const role = roleOf(options);
        const gateway = new Gateway(context);
        const result = await gateway.rotateCa(role, options.force === true, rootKeys);
        print(context, result, () => rotationText(result));
        return 0;
      }),
    );
}

function roleOf({ root = false, server = false }: RotateOptions): CaRole {
  if (root && server) {
    throw new SallyportError('usage', '--root and --server exclude each other', {
      hint: 'rotate one after the other',
    });
  }
  if (root) return 'root';
  return server ? 'server' : 'issuing';
}

function rotationText({ current, warnings }: RotationResult): string {
  const lines = [
    `In service: ${visible(current.subject)}, serial ${current.serial}, until ${formatTime(current.notAfter)}.`,
    ...warnings.map((warning) => `Note: ${visible(warning)}.`),
  ];
  return `${lines.join('\n')}\n`;
}
