import type { Command } from 'commander';
import { principalKinds } from '../../common/base/principal.ts';
import type { BackendConfig, UpstreamConfig } from '../../common/config/config.ts';
import type {
  PolicyDocument,
  RoleDocument,
  RouteDocument,
} from '../../common/config/policy-document.ts';
import type { ProxiedRouteDocument } from '../../common/config/proxied-route.ts';
import type { Entry } from '../../worker/policy/entry.ts';
import type { TableRow } from '../../worker/policy/policy.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { loadPolicy } from '../load-policy.ts';
import { print } from '../print.ts';
import { formatFields, formatTable, visible } from '../table.ts';
import { formatRates } from '../rates.ts';

export function addPolicyCheck(group: Command, run: Run): void {
  group
    .command('check')
    .description('check a configuration, or show what the running gateway enforces')
    .argument('[file]', 'configuration to check; without it the policy of the running gateway')
    .action((file: string | undefined) => run((context) => check(context, file)));
}

async function check(context: CommandContext, file: string | undefined): Promise<0> {
  const { document, generation, backends, upstreams, warnings } = await loadPolicy(context, file);
  const { compilePolicy } = await import('../../worker/policy/compile.ts');
  const { entries } = await import('../../worker/policy/entry.ts');
  const policy = compilePolicy(document, generation);
  const table = policy.table();
  print(
    context,
    { table, policy: document, warnings },
    () =>
      `${tableText(table, entries)}\n${rulesText(document)}${backendsText(backends)}${upstreamsText(upstreams)}${warningsText(warnings)}`,
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

/** More would make a line wider than a terminal. */
const entriesPerLine = 5;

/** One line for each thing a row looks at, with the entry points where it does, or a few of them. */
function cellRows({ row, cells }: TableRow, entries: readonly Entry[]): string[][] {
  const entriesOf = new Map<string, Entry[]>();
  for (const entry of entries) {
    const says = cells[entry];
    if (says === undefined || says === row) continue;
    entriesOf.set(says, [...(entriesOf.get(says) ?? []), entry]);
  }
  return [...entriesOf].flatMap(([says, on]) =>
    Array.from({ length: Math.ceil(on.length / entriesPerLine) }, (_, line) => {
      const some = on.slice(line * entriesPerLine, (line + 1) * entriesPerLine).join(', ');
      return line === 0 ? [row, says, some] : ['', '', some];
    }),
  );
}

function rulesText(document: PolicyDocument): string {
  const roles = formatTable(
    ['ROLE', 'RULE', 'ACTION', 'TOPIC FILTER OR REQUEST'],
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
  return `${roles}\n${routes}\n${proxiedText(document.proxied)}${rates}`;
}

function proxiedText(proxied: readonly ProxiedRouteDocument[]): string {
  if (proxied.length === 0) return '';
  const rows = proxied.map((route) => [
    route.name,
    route.methods.join(' '),
    route.path,
    route.roles.join(', '),
    `${route.authenticate.join(', ')}${route.integrity?.required === true ? ', signed' : ''}`,
    formatRates(route.rate),
    `${route.bodyBytes} bytes`,
    route.schema === undefined ? 'any body' : 'checked',
  ]);
  const head = ['ROUTE', 'METHODS', 'PATH', 'ROLES', 'PROOF', 'RATE', 'BODY', 'SCHEMA'];
  return `${formatTable(head, rows)}\n`;
}

function upstreamsText(upstreams: readonly UpstreamConfig[]): string {
  if (upstreams.length === 0) return '';
  const rows = upstreams.flatMap(({ route, servers, rewrite, ca, client, identity }) =>
    servers.map(({ origin, weight }) => [
      route,
      origin,
      String(weight),
      rewrite ?? 'as it is',
      origin.startsWith('http:') ? 'none' : trusts(ca),
      client === undefined ? 'nothing' : 'a certificate',
      identity === 'jwt' ? 'headers, assertion' : 'headers',
    ]),
  );
  const head = ['ROUTE', 'UPSTREAM', 'WEIGHT', 'PATH', 'TLS TRUSTS', 'SHOWS IT', 'TELLS WHO ASKS'];
  return `\n${formatTable(head, rows)}`;
}

function trusts(ca: string | undefined): string {
  return ca === undefined ? 'public CAs' : 'the CA named';
}

/** Of a URL its origin only: path and query may hold a secret. */
function backendsText(backends: readonly BackendConfig[]): string {
  if (backends.length === 0) return '';
  const rows = backends.map(({ spool, url, batch, ca, client }) => {
    const { origin, protocol } = new URL(url);
    return [
      spool,
      origin,
      String(batch),
      protocol === 'http:' ? 'none' : trusts(ca),
      client === undefined ? 'nothing' : 'a certificate',
    ];
  });
  return `\n${formatTable(['BACKEND', 'AT', 'BATCH', 'TLS TRUSTS', 'SHOWS IT'], rows)}`;
}

function warningsText(warnings: readonly string[]): string {
  return warnings.map((warning) => `\nwarning: ${visible(warning)}\n`).join('');
}

function roleRows(name: string, role: RoleDocument): string[][] {
  return (['deny', 'allow'] as const).flatMap((rule) =>
    (['publish', 'subscribe', 'request'] as const).flatMap((action) =>
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
