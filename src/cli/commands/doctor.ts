import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { printable } from '../../common/base/principal.ts';
import type { Run } from '../action.ts';
import type { CommandContext, ExitCode } from '../context.ts';
import { protocols } from '../doctor/answer.ts';
import type { Protocol } from '../doctor/answer.ts';
import type { Finding } from '../doctor/finding.ts';
import { parseDuration } from '../duration.ts';
import { print } from '../print.ts';
import { visible } from '../table.ts';

interface DoctorOptions {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly name?: string;
  readonly protocol?: string;
  readonly timeout: string;
}

export function addDoctor(program: Command, run: Run): void {
  program
    .command('doctor')
    .description('connect as a device would, and say in words what is wrong')
    .argument('<host:port>', 'where devices reach the gateway; [::1]:8883 for an IPv6 address')
    .option('--cert <file>', "the device's certificate, PEM, leaf first")
    .option('--key <file>', 'its key')
    .option('--ca <file>', 'the root that the device trusts')
    .option(
      '--name <name>',
      'the name that the certificate of the server must have; HOST without it',
    )
    .option('--protocol <protocol>', `${protocols.join(' or ')}; without it, by the port`)
    .option('--timeout <duration>', 'for each step', '10s')
    .action((where: string, options: DoctorOptions) =>
      run((context) => examine(context, where, options)),
    );
}

async function examine(
  context: CommandContext,
  where: string,
  options: DoctorOptions,
): Promise<ExitCode> {
  const { host, port } = addressOf(where);
  const { readCredentials } = await import('../doctor/credentials.ts');
  const { diagnose } = await import('../doctor/diagnose.ts');
  const findings = await diagnose({
    target: { host, port, name: options.name ?? host, limitMs: parseDuration(options.timeout) },
    credentials: readCredentials({ cert: options.cert, key: options.key, ca: options.ca }),
    protocol: protocolOf(options.protocol),
    now: Date.now(),
  });
  const faults = findings.filter(({ severity }) => severity === 'fault');
  print(context, { ok: faults.length === 0, findings }, () => findings.map(findingText).join(''));
  const [first] = faults;
  if (first === undefined) return 0;
  const count = faults.length === 1 ? '' : ` (one of ${faults.length} faults)`;
  context.err(`error: ${visible(`${first.says}${count}; ${first.todo ?? ''}`)}\n`);
  return 1;
}

function findingText({ severity, says, todo }: Finding): string {
  const line = `${severity === 'info' ? 'ok' : severity}`.padEnd(9) + visible(says);
  return todo === undefined ? `${line}\n` : `${line}\n${' '.repeat(9)}→ ${visible(todo)}\n`;
}

function addressOf(text: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, digits = ''] =
    /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host !== undefined && port > 0 && port <= 65_535) return { host, port };
  throw new SallyportError('usage', `"${printable(text)}" is no address`, {
    hint: 'write HOST:PORT, for example gateway.example:8883',
  });
}

function protocolOf(text: string | undefined): Protocol | undefined {
  const known = protocols.find((each) => each === text);
  if (text === undefined || known !== undefined) return known;
  throw new SallyportError('usage', `"${printable(text)}" is no protocol that the doctor speaks`, {
    hint: `use one of: ${protocols.join(', ')}`,
  });
}
