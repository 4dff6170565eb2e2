/** `route list`, `dead-letters`, `retry`, `discard`: what waits for backends, and what they refused for good. */
import type { Command } from 'commander';
import type { DeadLetter } from '../../common/ipc/messages.ts';
import type { SpoolView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable, formatTime } from '../table.ts';
import { wholeNumber } from '../whole-number.ts';

const backendOption = ['--backend <name>', 'which backend, when the route has several'] as const;

interface PageOptions {
  readonly backend?: string;
  readonly after: string;
  readonly limit: string;
}

interface SelectOptions {
  readonly backend?: string;
  readonly id?: readonly string[];
}

export function addRouteList(group: Command, run: Run): void {
  group
    .command('list')
    .description('show what waits for each backend')
    .action(() =>
      run(async (context) => {
        const spools = await new Gateway(context).spools();
        print(context, spools, () => spoolsText(spools));
        return 0;
      }),
    );
}

export function addRouteDeadLetters(group: Command, run: Run): void {
  group
    .command('dead-letters')
    .description('show the messages that a backend refused for good, oldest first')
    .argument('<route>')
    .option(...backendOption)
    .option('--after <id>', 'only those after this one', '')
    .option('--limit <n>', 'at most so many', '1000')
    .action((route: string, options: PageOptions) =>
      run(async (context) => {
        const limit = wholeNumber('--limit', options.limit);
        const letters = await collect(new Gateway(context), route, options, limit);
        print(context, letters, () => lettersText(letters));
        return 0;
      }),
    );
}

const descriptions = Object.freeze({
  retry: 'send dead letters again, all of them or those that are named',
  discard: 'drop dead letters, all of them or those that are named',
});

export function addRouteSettle(group: Command, run: Run, action: 'retry' | 'discard'): void {
  group
    .command(action)
    .description(descriptions[action])
    .argument('<route>')
    .option(...backendOption)
    .option('--id <id...>', 'only these')
    .action((route: string, { backend, id }: SelectOptions) =>
      run(async (context) => {
        const selection = {
          ...(backend === undefined ? {} : { backend }),
          ...(id === undefined ? {} : { ids: id }),
        };
        const result = await new Gateway(context).settleDeadLetters(action, route, selection);
        print(context, result, () => settledText(action, result.messages));
        return 0;
      }),
    );
}

async function collect(
  gateway: Gateway,
  route: string,
  { backend, after }: PageOptions,
  limit: number,
): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  while (letters.length < limit) {
    const last = letters.at(-1)?.id ?? after;
    const page = await gateway.deadLetters(route, backend, last, limit - letters.length);
    if (page.length === 0) break;
    letters.push(...page);
  }
  return letters;
}

function spoolsText(spools: readonly SpoolView[]): string {
  if (spools.length === 0) {
    return 'No route has a backend; "routes" in docs/configuration.md says how one gets it.\n';
  }
  return formatTable(
    ['ROUTE', 'BACKEND', 'AT', 'WAITING', 'BYTES', 'IN FLIGHT', 'DEAD LETTERS', 'BREAKER'],
    spools.map((spool) => [
      spool.route,
      spool.backend,
      spool.origin ?? '(no longer configured)',
      String(spool.waiting),
      String(spool.bytes),
      String(spool.inFlight),
      String(spool.deadLetters),
      breakerText(spool.breakersOpen),
    ]),
  );
}

function breakerText(open: number): string {
  if (open === 0) return 'closed';
  return open === 1 ? 'open in 1 worker' : `open in ${open} workers`;
}

function lettersText(letters: readonly DeadLetter[]): string {
  if (letters.length === 0) return 'No dead letters.\n';
  return formatTable(
    ['ID', 'ACCEPTED', 'REFUSED', 'FROM', 'TOPIC', 'BYTES', 'REASON'],
    letters.map((letter) => [
      letter.id,
      formatTime(letter.acceptedAt),
      formatTime(letter.refusedAt),
      letter.publisher,
      letter.topic,
      String(letter.bytes),
      letter.reason,
    ]),
  );
}

function settledText(action: 'retry' | 'discard', messages: number): string {
  const count = messages === 1 ? '1 message' : `${messages} messages`;
  return action === 'retry' ? `${count} will be sent again.\n` : `${count} dropped.\n`;
}
