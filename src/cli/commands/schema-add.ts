import type { Command } from 'commander';
import { errorCodeOf, messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Run } from '../action.ts';
import { makeDirectory, writeNewFile, writePublicFile } from '../files.ts';
import { print } from '../print.ts';
import {
  besideConfig,
  configFolder,
  defaultConfig,
  readSchema,
  schemaReference,
  schemasIn,
} from '../schema-files.ts';

interface AddOptions {
  readonly config: string;
  readonly replace?: boolean;
}

export function addSchemaAdd(group: Command, run: Run): void {
  group
    .command('add')
    .description('check a payload schema and put it beside the configuration')
    .argument('<name>', 'how it is called: schemas/NAME.json')
    .argument('<file>', 'JSON Schema, 2020-12 or draft-07')
    .option('--config <file>', 'configuration beside which it goes', defaultConfig)
    .option('--replace', 'also over a schema of that name')
    .action((name: string, file: string, options: AddOptions) =>
      run(async (context) => {
        const added = await add(name, file, options);
        print(
          context,
          added,
          () =>
            `Wrote ${added.file}. A route uses it with "schema: ${added.schema}"; "sallyport reload" makes it take effect.\n`,
        );
        return 0;
      }),
    );
}

async function add(
  name: string,
  file: string,
  { config, replace = false }: AddOptions,
): Promise<{ readonly schema: string; readonly file: string }> {
  const reference = schemaReference(name);
  const folder = configFolder(config);
  const { text, schema } = readSchema(file);
  const { compilePayloadSchema } = await import('../../common/config/payload-schema.ts');
  compilePayloadSchema(schema, file);
  makeDirectory(schemasIn(folder));
  const target = besideConfig(config, reference);
  try {
    (replace ? writePublicFile : writeNewFile)(target, text);
  } catch (error) {
    if (errorCodeOf(error) !== 'already-exists') throw error;
    throw new SallyportError('already-exists', messageOf(error), {
      hint: 'choose another name, or say --replace',
      cause: error,
    });
  }
  return { schema: reference, file: target };
}
