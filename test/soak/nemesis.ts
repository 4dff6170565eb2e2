/**
 * A gateway under load that is hurt at random: `node test/soak/nemesis.ts minutes=10 devices=20 workers=2 everyMs=20
 * seed=1 disk=0`.
 *
 * Workers are killed and stopped, control is killed, everything is killed at once, processes are replaced by an upgrade,
 * devices are suspended; with disk=1 the disk is filled too, and nothing is killed at once: that small disk would be gone
 * with its gateway. Meanwhile lasting clients publish with QoS 1 and 2 (each device a message every `everyMs`), and their
 * history is judged: see test/harness/fleet-history.ts. Prints what it does and the verdict; exits 0 when nothing was
 * violated.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { FleetHistory } from '../harness/fleet-history.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import { hurtsOf, nemesisConfig, randomOf } from '../harness/nemesis.ts';
import { DiskOf, smallDisk } from '../harness/small-disk.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const defaults = { minutes: 10, devices: 20, workers: 2, everyMs: 20, seed: 1, disk: 0 };
type Settings = typeof defaults;

const betweenMs = 3_000;
const diskMebibytes = 256;
const settledMs = 60_000;

function settingsOf(words: readonly string[]): Settings {
  const settings = { ...defaults };
  for (const word of words) {
    const [name = '', text = ''] = word.split('=');
    const value = Number(text);
    if (!(name in settings) || text === '' || !(value >= 0)) {
      throw new Error(`${word}: one of ${Object.keys(defaults).join('=N ')}=N`);
    }
    Object.assign(settings, { [name]: value });
  }
  return settings;
}

const started = performance.now();

function say(text: string): void {
  const seconds = Math.round((performance.now() - started) / 1_000);
  process.stdout.write(`${String(seconds).padStart(5)} s  ${text}\n`);
}

async function run(settings: Settings): Promise<boolean> {
  using folder = temporaryFolder();
  const options = {
    workers: settings.workers,
    config: nemesisConfig,
    folder,
    ...(settings.disk === 1 ? smallDisk(folder, diskMebibytes) : {}),
  };
  let gateway: Gateway = await startGateway(options);
  try {
    const ids = Array.from({ length: settings.devices }, (_, i) => `d${i + 1}`);
    await using fleet = new FleetHistory({
      devices: await gateway.devices(...ids),
      service: await gateway.service('be', 'backend'),
      gateway: () => gateway,
      everyMs: settings.everyMs,
    });
    await fleet.begins();
    say(`ready: ${JSON.stringify(settings)}`);
    const random = randomOf(settings.seed);
    const restart = async (): Promise<void> => {
      await gateway.kill();
      gateway = await startGateway(options);
    };
    const hurts = hurtsOf({
      gateway: () => gateway,
      fleet,
      devices: ids,
      restart: settings.disk === 1 ? undefined : restart,
      disk: settings.disk === 1 ? new DiskOf(gateway) : undefined,
      random,
    });
    const state = (): string =>
      `${fleet.promised} promised, ${fleet.arrived} arrived, ${fleet.refused} refused, ${fleet.violations.length} violations`;
    const until = performance.now() + settings.minutes * 60_000;
    while (performance.now() < until) {
      await delay(random() * 2 * betweenMs);
      const [name, hurt] = [...hurts][Math.floor(random() * hurts.size)] ?? [];
      say(`${name}; ${state()}`);
      try {
        await hurt?.();
      } catch (error) {
        // Control may be on its way up, a worker on its way down.
        say(`  ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
      }
    }
    await gateway.runFile(
      ({ ready, workers }) => ready && workers.length === settings.workers,
      settledMs,
    );
    const violations = await fleet.settle();
    for (const { what, detail } of violations.slice(0, 50)) say(`VIOLATION ${what}: ${detail}`);
    say(state());
    return violations.length === 0 && fleet.promised > 0;
  } finally {
    await gateway[Symbol.asyncDispose]();
  }
}

process.exitCode = (await run(settingsOf(process.argv.slice(2)))) ? 0 : 1;
