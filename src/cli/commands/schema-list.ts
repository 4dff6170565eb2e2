import { readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { messageOf } from '../../common/base/errors.ts';
import type { Run } from '../action.ts';
import { readSmallFile } from '../files.ts';
import { print } from '../print.ts';
import {
  besideConfig,
  configFolder,
  defaultConfig,
  readSchema,
  schemaFolder,
  schemasIn,
} from '../schema-files.ts';
import { formatTable } from '../table.ts';

const maxConfigBytes = 1024 * 1024;

interface ListedSchema {
  /** As the configuration names it. */
  readonly schema: string;
  readonly routes: readonly string[];
  /** Undefined: it can be used. */
  readonly problem: string | undefined;
}

export function addSchemaList(group: Command, run: Run): void {
  group
    .command('list')
    .description('show the payload schemas beside a configuration, and which routes use them')
    .option('--config <file>', 'configuration', defaultConfig)
    .action(({ config }: { readonly config: string }) =>
      run(async (context) => {
        const schemas = await list(config);
        print(context, schemas, () => listText(schemas));
        return schemas.some(({ problem }) => problem !== undefined) ? 1 : 0;
      }),
    );
}

async function list(config: string): Promise<ListedSchema[]> {
  const folder = configFolder(config);
  const { checkConfigText } = await import('../../common/config/filled-config.ts');
  const { compilePayloadSchema } = await import('../../common/config/payload-schema.ts');
  const { filled } = checkConfigText(config, readSmallFile(config, maxConfigBytes));
  const routes = new Map<string, string[]>(filesIn(schemasIn(folder)).map((file) => [file, []]));
  for (const [name, { schema }] of Object.entries(filled.routes)) {
    if (schema === undefined) continue;
    routes.set(schema, [...(routes.get(schema) ?? []), name]);
  }
  return [...routes]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([schema, users]) => {
      let problem: string | undefined;
      try {
        compilePayloadSchema(readSchema(besideConfig(config, schema)).schema, schema);
      } catch (error) {
        problem = messageOf(error);
      }
      return { schema, routes: users, problem };
    });
}

function filesIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    // Nothing has been added yet.
    return [];
  }
  return names
    .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
    .map((name) => `${schemaFolder}/${name}`);
}

function listText(schemas: readonly ListedSchema[]): string {
  if (schemas.length === 0) {
    return 'No schema; "sallyport schema add NAME FILE" puts one beside the configuration.\n';
  }
  return formatTable(
    ['SCHEMA', 'ROUTES', 'STATE'],
    schemas.map(({ schema, routes, problem }) => [
      schema,
      routes.length === 0 ? '-' : routes.join(', '),
      problem ?? 'good',
    ]),
  );
}
