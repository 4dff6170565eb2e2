import type { Command } from 'commander';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { writeNewFile, writePublicFile } from '../files.ts';
import { print } from '../print.ts';
import { visible } from '../table.ts';
import { wholeNumber } from '../whole-number.ts';

interface ImportMosquittoOptions {
  readonly out?: string;
  readonly force?: true;
  readonly root?: string;
  readonly listener?: string;
}

export function addPolicyImportMosquitto(group: Command, run: Run): void {
  group
    .command('import-mosquitto')
    .description("make a configuration from mosquitto's, and list what could not be carried over")
    .argument('<conf>', 'its mosquitto.conf; ACL file and includes are found from there')
    .option('--out <file>', 'file to write; without it the configuration goes to standard output')
    .option('--force', 'overwrite FILE')
    .option('--root <dir>', "folder with a copy of the other machine's files, for absolute paths")
    .option('--listener <port>', 'the listener whose rules are meant, when they differ')
    .action((conf: string, options: ImportMosquittoOptions) =>
      run((context) => importInto(context, conf, options)),
    );
}

async function importInto(
  context: CommandContext,
  conf: string,
  { out, force, root, listener }: ImportMosquittoOptions,
): Promise<0> {
  const { importMosquitto, findingText } = await import('../mosquitto/import-mosquitto.ts');
  const { text, roles, findings } = importMosquitto(conf, {
    root,
    listener: listener === undefined ? undefined : wholeNumber('--listener', listener),
  });
  if (out !== undefined) (force === true ? writePublicFile : writeNewFile)(out, text);
  const value = { ...(out === undefined ? { config: text } : { file: out }), roles, findings };
  print(context, value, () => {
    if (out === undefined) return text;
    const listed = findings.map((finding) => `${visible(findingText(finding))}\n`).join('');
    const count = findings.length === 1 ? '1 thing was' : `${findings.length} things were`;
    return `${listed}Wrote ${out}; ${count} not carried over, or only in part. Check it with "sallyport policy check ${out}".\n`;
  });
  return 0;
}
