import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import type { Run } from '../action.ts';
import { readSmallFile, writeKeyFile } from '../files.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

const maxKeyFileBytes = 64 * 1024;

export function addCaExportRoot(group: Command, run: Run): void {
  group
    .command('export-root')
    .description('move the root key into a file and remove it from the gateway')
    .argument('<file>', 'never overwritten; keep it offline')
    .action((file: string) =>
      run(async (context) => {
        const gateway = new Gateway(context);
        const { privateKey, certificate } = await gateway.exportRoot();
        const text = `${privateKey.trimEnd()}\n${certificate.trimEnd()}\n`;
        writeKeyFile(file, text);
        // The only copy is about to be removed: what is in the file is read back first.
        if (readSmallFile(file, maxKeyFileBytes) !== text) {
          throw new SallyportError('io', `${file} does not hold what was written`, {
            hint: 'the gateway still has the root key; write to another disk',
          });
        }
        await gateway.confirmRootExported();
        print(
          context,
          { file },
          () =>
            `The root key and its certificate are in ${file} and no longer on the gateway. Move the file offline: whoever has it can make a gateway of their own.\n`,
        );
        return 0;
      }),
    );
}
