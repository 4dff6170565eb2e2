import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { printable } from '../../common/base/principal.ts';
import type { FieldProblem } from '../../common/config/payload-schema.ts';
import type { Run } from '../action.ts';
import { readSmallBytes } from '../files.ts';
import { print } from '../print.ts';
import { defaultConfig, readSchema, schemaFile } from '../schema-files.ts';
import { formatTable } from '../table.ts';

/** More than any listener takes. */
const maxPayloadBytes = 16 * 1024 * 1024;
const contentTypes = { json: 'application/json', cbor: 'application/cbor' } as const;

interface TestOptions {
  readonly config: string;
  readonly type: string;
}

export function addSchemaTest(group: Command, run: Run): void {
  group
    .command('test')
    .description(
      'judge a payload by a schema, as the gateway would, and show every field that fails',
    )
    .argument('<schema>', 'name of one that was added, or a file')
    .argument('<payload>', 'file; "-" is standard input')
    .option('--type <type>', 'json or cbor', 'json')
    .option('--config <file>', 'configuration beside which a name is looked up', defaultConfig)
    .action((schema: string, payload: string, options: TestOptions) =>
      run(async (context) => {
        const problems = await judge(schema, payload, options);
        print(context, { valid: problems.length === 0, problems }, () => problemsText(problems));
        return problems.length === 0 ? 0 : 1;
      }),
    );
}

async function judge(
  nameOrFile: string,
  payload: string,
  { config, type }: TestOptions,
): Promise<readonly FieldProblem[]> {
  if (type !== 'json' && type !== 'cbor') {
    throw new SallyportError('usage', `"${printable(type)}" is no type of payload`, {
      hint: 'types: json, cbor',
    });
  }
  const file = schemaFile(config, nameOrFile);
  const { compilePayloadReport } = await import('../../common/config/payload-schema.ts');
  const report = compilePayloadReport(readSchema(file).schema, file);
  const bytes = readSmallBytes(payload === '-' ? '/dev/stdin' : payload, maxPayloadBytes);
  return report(bytes, contentTypes[type]);
}

function problemsText(problems: readonly FieldProblem[]): string {
  if (problems.length === 0) return 'The payload fits.\n';
  return formatTable(
    ['FIELD', 'PROBLEM', 'RULE'],
    problems.map(({ field, problem, rule }) => [
      field === '' ? '(the payload)' : field,
      problem,
      rule === '' ? '-' : rule,
    ]),
  );
}
