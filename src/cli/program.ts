/**
 * The command line as a whole: which commands there are, the options that all of them have, and how an error ends one.
 */
import { Command, CommanderError } from 'commander';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import { standingActions } from '../common/base/principal.ts';
import type { Run, Work } from './action.ts';
import { addAuditLogShow } from './commands/audit-log-show.ts';
import { addAuditLogVerify } from './commands/audit-log-verify.ts';
import { addCaCheck } from './commands/ca-check.ts';
import { addCaExportRoot } from './commands/ca-export-root.ts';
import { addCaPins } from './commands/ca-pins.ts';
import { addCaRotate } from './commands/ca-rotate.ts';
import { addCaShow } from './commands/ca-show.ts';
import { addCommandSend } from './commands/command-send.ts';
import { addDeviceEnroll } from './commands/device-enroll.ts';
import { addDeviceShow } from './commands/device-show.ts';
import { addDoctor } from './commands/doctor.ts';
import {
  addEnrolmentDecision,
  addEnrolmentList,
  addEnrolmentToken,
  addEnrolmentWithdraw,
} from './commands/enrolment.ts';
import { addInit } from './commands/init.ts';
import { addOperatorInvite } from './commands/operator-invite.ts';
import { addPolicyCheck } from './commands/policy-check.ts';
import { addPolicyImportMosquitto } from './commands/policy-import-mosquitto.ts';
import { addPolicyTest } from './commands/policy-test.ts';
import { addDeviceCreate, addServiceCreate } from './commands/principal-create.ts';
import { addKeyAdd, addKeyList, addKeyRemove } from './commands/principal-key.ts';
import { addList } from './commands/principal-list.ts';
import { addDeviceRegister, addServiceRegister } from './commands/principal-register.ts';
import { addRouteDeadLetters, addRouteList, addRouteSettle } from './commands/route.ts';
import { addStanding } from './commands/principal-standing.ts';
import { addSchemaAdd } from './commands/schema-add.ts';
import { addSchemaList } from './commands/schema-list.ts';
import { addSchemaTest } from './commands/schema-test.ts';
import { addReload } from './commands/reload.ts';
import { addSimulate } from './commands/simulate.ts';
import { addStatus } from './commands/status.ts';
import { addUp } from './commands/up.ts';
import type { ExitCode, Terminal } from './context.ts';
import { visible } from './table.ts';

/** @returns the exit code: 0 on success, 1 on failure, 2 when the command line itself was wrong. */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
  version: string,
): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = buildProgram(terminal, version, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    return reportError(error, terminal);
  }
}

function buildProgram(
  terminal: Terminal,
  version: string,
  finish: (code: ExitCode) => void,
): Command {
  const program = new Command('sallyport')
    .description('IoT API security gateway')
    .version(version, '--version', 'print the version')
    .option('--data <dir>', 'data directory of the gateway', './data')
    .option('--json', 'print JSON for programs', false)
    .helpOption('--help', 'explain a command')
    .helpCommand('help [command]', 'explain a command')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: terminal.out, writeErr: () => {} })
    .exitOverride();
  const run: Run = async (work: Work) => {
    const { data, json } = program.opts<{ data: string; json: boolean }>();
    finish(await work({ ...terminal, dataDir: data, json }));
  };

  addUp(program, run);
  addInit(program, run);
  addStatus(program, run);
  addReload(program, run);
  addDoctor(program, run);

  const device = addGroup(program, 'device', 'devices and their certificates');
  addDeviceEnroll(device, run);
  addList(device, run, 'device');
  addDeviceShow(device, run);
  addStanding(device, run, 'device', standingActions);
  addDeviceCreate(device, run);
  addDeviceRegister(device, run);
  addKeys(device, run, 'device');

  const service = addGroup(program, 'service', 'services that read and command devices');
  addServiceCreate(service, run);
  addServiceRegister(service, run);
  addList(service, run, 'service');
  addStanding(service, run, 'service', ['suspend', 'resume', 'revoke']);
  addKeys(service, run, 'service');

  const operator = addGroup(program, 'operator', 'people who administer the gateway');
  addOperatorInvite(operator, run);
  addList(operator, run, 'operator');
  addStanding(operator, run, 'operator', ['revoke']);

  const enrolment = addGroup(program, 'enrolment', 'devices that enrol over the network (EST)');
  addEnrolmentToken(enrolment, run);
  addEnrolmentList(enrolment, run);
  addEnrolmentDecision(enrolment, run, 'approve');
  addEnrolmentDecision(enrolment, run, 'deny');
  addEnrolmentWithdraw(enrolment, run);

  const command = addGroup(program, 'command', 'commands to devices');
  addCommandSend(command, run);

  const route = addGroup(program, 'route', 'what waits for backends, and what they refused');
  addRouteList(route, run);
  addRouteDeadLetters(route, run);
  addRouteSettle(route, run, 'retry');
  addRouteSettle(route, run, 'discard');

  const ca = addGroup(program, 'ca', 'the certificate authority');
  addCaShow(ca, run);
  addCaRotate(ca, run);
  addCaPins(ca, run);
  addCaCheck(ca, run);
  addCaExportRoot(ca, run);

  const policy = addGroup(program, 'policy', 'what is allowed, and why');
  addPolicyCheck(policy, run);
  addPolicyTest(policy, run);
  addPolicyImportMosquitto(policy, run);

  const schema = addGroup(program, 'schema', 'what payloads have to look like');
  addSchemaAdd(schema, run);
  addSchemaTest(schema, run);
  addSchemaList(schema, run);

  const auditLog = addGroup(program, 'audit-log', 'what operators did');
  addAuditLogShow(auditLog, run);
  addAuditLogVerify(auditLog, run);

  addSimulate(program, run);

  explainUnknown(program);
  return program;
}

function addKeys(group: Command, run: Run, kind: 'device' | 'service'): void {
  const key = addGroup(group, 'key', `keys with which a ${kind} signs`);
  addKeyAdd(key, run, kind);
  addKeyList(key, run, kind);
  addKeyRemove(key, run, kind);
}

function addGroup(program: Command, name: string, description: string): Command {
  const group = program.command(name).description(description);
  explainUnknown(group);
  return group;
}

/** What is no command is answered with those that are. */
function explainUnknown(group: Command): void {
  group
    .usage('[options] [command]')
    .argument('[command]')
    .allowExcessArguments()
    .allowUnknownOption()
    .action((given: string | undefined) => {
      const names = group.commands.map((command) => command.name()).join(', ');
      const path = group.parent === null ? group.name() : `${group.parent.name()} ${group.name()}`;
      throw new SallyportError(
        'usage',
        given === undefined ? `${path} needs a command` : `there is no command "${path} ${given}"`,
        { hint: `commands: ${names}` },
      );
    });
}

/** One line that says what to do. */
function reportError(error: unknown, terminal: Terminal): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
    terminal.err(`error: ${visible(text)}; see --help\n`);
    return 2;
  }
  const hint = error instanceof SallyportError && error.hint !== undefined ? `; ${error.hint}` : '';
  const lines = `${messageOf(error)}${hint}`.split('\n').map((line) => visible(line.trim()));
  terminal.err(`error: ${lines.join(' ')}\n`);
  return error instanceof SallyportError && error.code === 'usage' ? 2 : 1;
}
