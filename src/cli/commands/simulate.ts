/** A fleet without hardware: laboratory devices of this gateway that send and obey until they are stopped. */
import type { Command } from 'commander';
import { systemClock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { connectionsPerDevice, Fleet, spread } from '../../device/fleet.ts';
import { protocols as knownProtocols } from '../../device/link.ts';
import type { Address, Protocol } from '../../device/link.ts';
import type { Run } from '../action.ts';
import type { CommandContext, ExitCode } from '../context.ts';
import { enrolFleet } from '../fleet-enrolment.ts';
import { fleetPlan, maxDevices } from '../fleet-plan.ts';
import type { FleetPlan, FleetPlanOptions } from '../fleet-plan.ts';
import { Progress } from '../fleet-progress.ts';
import { progressText, reportOf, summaryText } from '../fleet-report.ts';
import type { FleetReport } from '../fleet-report.ts';
import { Gateway } from '../gateway.ts';
import { openFilesLimit } from '../open-files.ts';
import { print } from '../print.ts';

/** Files of this process that are no device's. */
const spareFiles = 64;
/** A fleet of which nobody has been let in by then has nothing to show, and somebody should hear of it. */
const firstConnectionMs = 30_000;

export function addSimulate(program: Command, run: Run): void {
  program
    .command('simulate')
    .description(
      'laboratory only: a fleet of devices that sends real traffic to the running gateway',
    )
    .option('--devices <n>', `how many, at most ${maxDevices}`, '10')
    .option('--rate <rate>', 'messages of each device: 1/5s, 2/s, 10/m', '1/5s')
    .option('--protocol <list>', `${knownProtocols.join(',')}; without it all that are listening`)
    .option('--seconds <n>', 'end after this time; without it and --messages, with Ctrl-C')
    .option('--messages <n>', 'end when the fleet has sent so many, and all have an answer')
    .option('--prefix <text>', 'of the ids: sim- makes sim-0001, sim-0002, …', 'sim-')
    .option(
      '--host <host>',
      'where devices reach the gateway; its certificate must have it',
      'localhost',
    )
    .action((options: FleetPlanOptions) => run((context) => simulate(context, fleetPlan(options))));
}

async function simulate(context: CommandContext, plan: FleetPlan): Promise<ExitCode> {
  using interrupt = new Interrupt();
  const gateway = new Gateway(context);
  const { addresses, protocols } = await listening(gateway, plan);
  const assigned = spread(plan.ids.length, protocols);
  assertEnoughFiles(assigned);

  let text = (): string | undefined => undefined;
  using progress = context.json ? undefined : new Progress(context, () => text());
  let count = 0;
  text = () => `${count}/${plan.ids.length} enrolled`;
  const counted = (enrolled: number): void => void (count = enrolled);
  const { identities, refused } = await enrolFleet(gateway, plan.ids, counted, interrupt.signal);

  const { clock, random } = { clock: systemClock, random: Math.random };
  const { intervalMs, messages } = plan;
  const protocolOf = new Map(plan.ids.map((id, index) => [id, assigned[index]]));
  const members = identities.flatMap((identity) => {
    const protocol = protocolOf.get(identity.id);
    return protocol === undefined ? [] : [{ ...identity, protocol }];
  });
  const fleet = new Fleet({ members, addresses, intervalMs, messages, clock, random });
  const startedAt = clock.monotonic();
  const enrolment = { devices: plan.ids.length, protocols: countOf(assigned), refused };
  const report = (): FleetReport =>
    reportOf(enrolment, fleet.state(), fleet.tally, clock.monotonic() - startedAt);
  text = () => progressText(report());
  if (!interrupt.signal.aborted) {
    fleet.start();
    await ending(fleet, plan.seconds, interrupt.signal);
  }
  const atTheEnd = report();
  await fleet.stop();
  progress?.[Symbol.dispose]();
  const final = { ...report(), seconds: atTheEnd.seconds, connected: atTheEnd.connected };
  print(context, final, () => summaryText(final));
  if (final.everConnected > 0 || interrupt.signal.aborted) return 0;
  throw nobodyConnected(fleet, final);
}

/** Resolves when the fleet has done its work, its time is up, it was interrupted, or nobody was let in. */
async function ending(
  fleet: Fleet,
  seconds: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timers = [
    setTimeout(() => {
      if (fleet.state().everConnected === 0) resolve();
    }, firstConnectionMs),
  ];
  if (seconds !== undefined) timers.push(setTimeout(resolve, seconds * 1_000));
  const interrupted = (): void => resolve();
  signal.addEventListener('abort', interrupted);
  try {
    await Promise.race([promise, fleet.done]);
  } finally {
    signal.removeEventListener('abort', interrupted);
    for (const timer of timers) clearTimeout(timer);
  }
}

/** The first Ctrl-C, or a SIGTERM, ends the fleet in good order; a second one ends the process. */
class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #heard = (): void => {
    this[Symbol.dispose]();
    this.#controller.abort();
  };

  constructor() {
    process.once('SIGINT', this.#heard);
    process.once('SIGTERM', this.#heard);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#heard);
    process.off('SIGTERM', this.#heard);
  }
}

/** Where the devices go, from what the gateway says of its listeners. */
async function listening(
  gateway: Gateway,
  { host, protocols: asked }: FleetPlan,
): Promise<{
  readonly addresses: Readonly<Partial<Record<Protocol, Address>>>;
  readonly protocols: readonly Protocol[];
}> {
  const { listeners } = await gateway.status();
  const addresses: Partial<Record<Protocol, Address>> = {};
  for (const protocol of knownProtocols) {
    const listener = listeners[protocol];
    if (listener !== undefined) addresses[protocol] = { host, port: listener.port };
  }
  const there = knownProtocols.filter((protocol) => addresses[protocol] !== undefined);
  const missing = asked?.find((protocol) => !there.includes(protocol));
  if (missing === undefined && there.length > 0) return { addresses, protocols: asked ?? there };
  throw new SallyportError('not-found', `the gateway does not listen for ${missing ?? 'devices'}`, {
    hint: `switch the listener on in its configuration, or use --protocol with one of: ${there.join(', ') || 'none'}`,
  });
}

function assertEnoughFiles(assigned: readonly Protocol[]): void {
  const needed = assigned.reduce(
    (sum, protocol) => sum + connectionsPerDevice[protocol],
    spareFiles,
  );
  const limit = openFilesLimit();
  if (needed <= limit) return;
  throw new SallyportError(
    'usage',
    `${assigned.length} devices need ${needed} open files and this process may have ${limit}`,
    { hint: 'raise it with ulimit -n, or use fewer devices' },
  );
}

function nobodyConnected(fleet: Fleet, report: FleetReport): SallyportError {
  const problem = fleet.lastProblem();
  const [refusal] = Object.keys(report.refusedDevices);
  const why = problem?.message ?? (refusal === undefined ? undefined : `refused (${refusal})`);
  return new SallyportError(
    'unavailable',
    `no device could connect${why === undefined ? '' : `: ${why}`}`,
    { hint: 'see "device list", --host, and the log of the gateway' },
  );
}

function countOf(assigned: readonly Protocol[]): Partial<Record<Protocol, number>> {
  const counts: Partial<Record<Protocol, number>> = {};
  for (const protocol of assigned) counts[protocol] = (counts[protocol] ?? 0) + 1;
  return counts;
}
