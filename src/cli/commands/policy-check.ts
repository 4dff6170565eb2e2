import type { Command } from 'commander';
import { principalKinds } from '../../common/base/principal.ts';
import type {
  PolicyDocument,
  RoleDocument,
  RouteDocument,
} from '../../common/config/policy-document.ts';
import type { Entry } from '../../worker/policy/entry.ts';
import type { TableRow } from '../../worker/policy/policy.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { loadPolicy } from '../load-policy.ts';
import { print } from '../print.ts';
import { formatFields, formatTable } from '../table.ts';
import { formatRates } from '../rates.ts';

export function addPolicyCheck(group: Command, run: Run): void {
  group
    .command('check')
    .description('check a configuration, or show what the running gateway enforces')
    .argument('[file]', 'configuration to check; without it the policy of the running gateway')
    .action((file: string | undefined) => run((context) => check(context, file)));
}

async function check(context: CommandContext, file: string | undefined): Promise<0> {
  const { document, generation } = await loadPolicy(context, file);
  const { compilePolicy } = await import('../../worker/policy/compile.ts');
  const { entries } = await import('../../worker/policy/entry.ts');
  const policy = compilePolicy(document, generation);
  const table = policy.table();
  print(
    context,
    { table, policy: document },
    () => `${tableText(table, entries)}\n${rulesText(document)}`,
  );
  return 0;
}

/** Which check is asked where, then what it looks at there; a row of all would be wider than any terminal. */
function tableText(table: readonly TableRow[], entries: readonly Entry[]): string {
  const matrix = formatTable(
    ['CHECK', ...entries.map((entry) => entry.toUpperCase()), 'DENIES WITH'],
    table.map(({ row, cells, codes }) => [
      row,
      ...entries.map((entry) => (cells[entry] === undefined ? '–' : 'asked')),
      codes.join(', '),
    ]),
  );
  const cells = formatTable(
    ['CHECK', 'LOOKS AT', 'ON'],
    table.flatMap((row) => cellRows(row, entries)),
  );
  return `${matrix}\n${cells}`;
}

/** One line for each thing a row looks at, with the entry points where it does. */
function cellRows({ row, cells }: TableRow, entries: readonly Entry[]): string[][] {
  const entriesOf = new Map<string, Entry[]>();
  for (const entry of entries) {
    const says = cells[entry];
    if (says === undefined || says === row) continue;
    entriesOf.set(says, [...(entriesOf.get(says) ?? []), entry]);
  }
  return [...entriesOf].map(([says, on]) => [row, says, on.join(', ')]);
}

function rulesText(document: PolicyDocument): string {
  const roles = formatTable(
    ['ROLE', 'RULE', 'ACTION', 'TOPIC FILTER'],
    Object.entries(document.roles).flatMap(([name, role]) => roleRows(name, role)),
  );
  const routes = formatTable(
    ['ROUTE', 'MATCH', 'RATE', 'PAYLOAD', 'SCHEMA'],
    document.routes.map((route) => routeRow(route, document)),
  );
  const rates = formatFields(
    principalKinds.map(
      (kind) => [`each ${kind}`, formatRates(document.identityRates[kind])] as const,
    ),
  );
  return `${roles}\n${routes}\n${rates}`;
}

function roleRows(name: string, role: RoleDocument): string[][] {
  return (['deny', 'allow'] as const).flatMap((rule) =>
    (['publish', 'subscribe'] as const).flatMap((action) =>
      role[rule][action].map((filter) => [name, rule, action, filter]),
    ),
  );
}

function routeRow(route: RouteDocument, { limits }: PolicyDocument): string[] {
  return [
    route.name,
    route.match,
    formatRates(route.rate),
    `${route.payloadBytes ?? limits.payloadBytes} bytes`,
    route.schema === undefined ? 'any payload' : 'checked',
  ];
}
