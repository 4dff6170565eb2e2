/** `enrolment token`, `list`, `approve`, `deny`, `withdraw`: how devices get their first certificate over the network. */
import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName, principalParts } from '../../common/base/principal.ts';
import type { EnrolmentRequestView, EnrolmentTokenView } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { parseDuration } from '../duration.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTable, formatTime } from '../table.ts';
import { wholeNumber } from '../whole-number.ts';

interface TokenOptions {
  readonly device?: string;
  readonly ttl: string;
  readonly uses: string;
}

export function addEnrolmentToken(group: Command, run: Run): void {
  group
    .command('token')
    .description('make a token with which devices get certificates')
    .option('--device <id>', 'for this device; without it, for devices that do not exist yet')
    .option('--ttl <duration>', 'how long it is good: 15m, 1h, 7d', '1h')
    .option('--uses <n>', 'how many certificates it is good for', '1')
    .action(({ device, ttl, uses }: TokenOptions) =>
      run(async (context) => {
        if (device !== undefined) principalName('device', device);
        const created = await new Gateway(context).createEnrolmentToken({
          ...(device === undefined ? {} : { device }),
          ttlSeconds: Math.ceil(parseDuration(ttl) / 1_000),
          uses: wholeNumber('--uses', uses),
        });
        const { number, token, expires } = created;
        const whom = device === undefined ? 'new devices' : `device/${device}`;
        const often = uses === '1' ? 'once' : `${uses} times`;
        print(context, created, () => `${token}\n`);
        if (!context.json) {
          // Not where TOKEN=$(…) would take it for a part of the token.
          context.err(
            `Token ${number}: good ${often}, until ${formatTime(expires)}, for ${whom}; it is not shown again. How to use it: docs/enrolment.md.\n`,
          );
        }
        return 0;
      }),
    );
}

export function addEnrolmentList(group: Command, run: Run): void {
  group
    .command('list')
    .description('show requests that wait for you, and tokens that can be used')
    .action(() =>
      run(async (context) => {
        const gateway = new Gateway(context);
        const requests = await gateway.enrolmentRequests();
        const tokens = await gateway.enrolmentTokens();
        print(
          context,
          { requests, tokens },
          () => `${requestsText(requests)}\n${tokensText(tokens)}`,
        );
        return 0;
      }),
    );
}

const decisions = Object.freeze({
  approve: 'let the device of a request have its certificate, for the key of the request',
  deny: 'refuse a request, or take an approval back that has not been used',
});

export function addEnrolmentDecision(group: Command, run: Run, action: 'approve' | 'deny'): void {
  group
    .command(action)
    .description(decisions[action])
    .argument('<number>', 'of the request, as in the list')
    .option('--reason <text>', 'why, for the audit log')
    .action((number: string, { reason }: { readonly reason?: string }) =>
      run(async (context) => {
        const request = await new Gateway(context).decideEnrolment(
          numberOf(number),
          action,
          reason,
        );
        print(
          context,
          request,
          () => `Request ${request.number}, ${request.name}: ${request.state}.\n`,
        );
        return 0;
      }),
    );
}

export function addEnrolmentWithdraw(group: Command, run: Run): void {
  group
    .command('withdraw')
    .description('make a token useless')
    .argument('<number>', 'of the token, as in the list')
    .action((number: string) =>
      run(async (context) => {
        const token = await new Gateway(context).withdrawEnrolmentToken(numberOf(number));
        print(context, token, () => `Token ${token.number} is of no use any more.\n`);
        return 0;
      }),
    );
}

function numberOf(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new SallyportError('usage', `"${text}" is not a number of the list`, {
    hint: 'see: sallyport enrolment list',
  });
}

function requestsText(requests: readonly EnrolmentRequestView[]): string {
  if (requests.length === 0) return 'No request waits.\n';
  return formatTable(
    ['REQUEST', 'DEVICE', 'STATE', 'BY', 'FROM', 'CAME', 'KEPT UNTIL', 'KEY (SHA-256)'],
    requests.map((request) => [
      String(request.number),
      principalParts(request.name).id,
      request.state,
      request.by,
      request.source,
      formatTime(request.createdAt),
      formatTime(request.expires),
      request.spkiSha256,
    ]),
  );
}

function tokensText(tokens: readonly EnrolmentTokenView[]): string {
  if (tokens.length === 0) return 'No token can be used.\n';
  return formatTable(
    ['TOKEN', 'FOR', 'USES LEFT', 'EXPIRES', 'MADE', 'BY'],
    tokens.map((token) => [
      String(token.number),
      token.device === undefined ? 'new devices' : principalParts(token.device).id,
      `${token.usesLeft} of ${token.uses}`,
      formatTime(token.expires),
      formatTime(token.createdAt),
      token.createdBy,
    ]),
  );
}
