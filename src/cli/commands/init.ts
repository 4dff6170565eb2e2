import type { Command } from 'commander';
import type { Run } from '../action.ts';
import { writeNewFile } from '../files.ts';
import { print } from '../print.ts';

export function addInit(program: Command, run: Run): void {
  program
    .command('init')
    .description('write a commented configuration file with all defaults')
    .option('--out <file>', 'file to write; never overwritten', 'sallyport.yaml')
    .action(({ out }: { readonly out: string }) =>
      run(async (context) => {
        const { initialConfigText } = await import('../../common/config/initial-config.ts');
        writeNewFile(out, initialConfigText());
        print(
          context,
          { file: out },
          () =>
            `Wrote ${out}. Edit it, check it with "sallyport policy check ${out}", then start with "sallyport up --config ${out}".\n`,
        );
        return 0;
      }),
    );
}
