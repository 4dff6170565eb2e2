/** What hurts a gateway, each by its name. It is expected to go on, whatever happens to be under way. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FleetHistory } from './fleet-history.ts';
import type { Gateway } from './gateway.ts';
import { isContinued } from './processes.ts';
import type { DiskOf } from './small-disk.ts';
import { until } from './waiting.ts';

export interface NemesisParts {
  readonly gateway: () => Gateway;
  readonly fleet: FleetHistory;
  readonly devices: readonly string[];
  /** Kills every process and starts the gateway anew; undefined where its data would not survive that. */
  readonly restart: (() => Promise<void>) | undefined;
  /** The disk of the workers, when it is one that may be filled. */
  readonly disk: DiskOf | undefined;
  /** 0 ≤ n < 1. */
  readonly random: () => number;
}

export type Hurt = () => Promise<void>;

const momentMs = 1_500;
const fullMs = 2_000;
/** Bytes that somebody else leaves on the disk: within the reserve. */
const leftBytes = 10 * 1024 ** 2;
const suspendedMs = 2_500;
const controlLimitMs = 30_000;

export function hurtsOf(parts: NemesisParts): ReadonlyMap<string, Hurt> {
  const { gateway, fleet, devices, restart, disk, random } = parts;
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  const signal = (pid: number | undefined, name: NodeJS.Signals): void => {
    if (pid !== undefined) process.kill(pid, name);
  };
  // Control may be on its way up again.
  const done = (...command: readonly string[]): Promise<true> =>
    until(command.join(' '), controlLimitMs, async () => {
      const { code } = await gateway().cli(...command);
      return code === 0;
    });
  const hurts = new Map<string, Hurt>([
    ['kill a worker', async () => signal(pick(gateway().processes().workers), 'SIGKILL')],
    [
      'stop a worker for a moment',
      async () => {
        const pid = pick(gateway().processes().workers);
        signal(pid, 'SIGSTOP');
        await delay(random() * momentMs);
        // It may be gone: the moment was too long.
        if (pid !== undefined) isContinued(pid);
      },
    ],
    // The supervisor kills it.
    ['stop a worker', async () => signal(pick(gateway().processes().workers), 'SIGSTOP')],
    ['kill control', async () => signal(pick(gateway().processes().control), 'SIGKILL')],
    ['replace all processes', async () => gateway().signal('SIGUSR2')],
    [
      'suspend a device',
      async () => {
        const device = pick(devices);
        if (device === undefined) return;
        await done('device', 'suspend', device);
        fleet.suspended(device);
        await delay(suspendedMs);
        fleet.resumes(device);
        await done('device', 'resume', device);
      },
    ],
  ]);
  if (restart !== undefined) hurts.set('kill everything', restart);
  if (disk !== undefined) {
    hurts.set('fill the disk', async () => {
      disk.fill(leftBytes);
      await delay(fullMs);
      disk.empty();
    });
  }
  return hurts;
}

/** mulberry32: the same seed hurts in the same order. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Rates that the load cannot reach, and queues that it cannot fill: what is lost then was lost by the gateway. */
export const nemesisConfig = [
  'routes:',
  '  telemetry: { match: devices/+/telemetry, rate: [] }',
  '  diagnostics: { match: devices/+/diagnostics, rate: [] }',
  'limits:',
  '  diskReserve: 16MiB',
  '  queuedMessages: 1000000',
  '  queuedBytes: 1GiB',
  '  commandsPerDevice: 10000',
  '  commandBytesPerDevice: 16MiB',
  '  identityRates: { device: { limit: 100000/s, burst: 100000 }, service: { limit: 100000/s, burst: 100000 } }',
].join('\n');
