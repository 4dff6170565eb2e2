/** `sallyport up`: everything that happens before and around the supervisor. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../common/base/clock.ts';
import { messageOf } from '../common/base/errors.ts';
import { jsonLogger } from '../common/base/json-logger.ts';
import { configWarnings } from '../common/config/config-warnings.ts';
import { loadConfigBundle } from '../common/config/load-config.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { readyBanner } from './banner.ts';
import { readClockOffset } from './clock-offset.ts';
import { openDataDirectory } from './data-directory.ts';
import { endLeftovers } from './leftovers.ts';
import { Supervisor } from './supervisor.ts';
import type { SupervisorOptions } from './supervisor.ts';
import { wingUsers } from './users.ts';

export interface UpOptions {
  readonly configPath: string | undefined;
  readonly dataDir: string;
  readonly workers: number | undefined;
}

/** How often the clock of this machine is looked at. */
const clockEveryMs = 60_000;

/** Runs the gateway until it is told to stop. @returns the exit code. */
export async function runSupervisor(options: UpOptions): Promise<number> {
  const logger = jsonLogger({ process: 'supervisor' });
  const log: SupervisorOptions['log'] = (level, fields, message) => logger[level](fields, message);
  // Nobody may be reading; the gateway runs for its devices and not for its terminal.
  process.stdout.on('error', () => {});
  const readBundle = () => loadConfigBundle(options.configPath, process.env);
  const bundle = readBundle();
  // A mistake is better told here, before anything has started.
  const config = parseConfig(bundle);
  for (const listener of config.listenersNotYet) {
    log('warn', { listener }, 'this version has no such listener: nothing listens there');
  }
  for (const warning of configWarnings(config)) log('warn', {}, warning);
  const users = wingUsers((line) => log('info', {}, line));
  const data = openDataDirectory(options.dataDir, users);
  let clockWatch: NodeJS.Timeout | undefined;
  try {
    const ended = await endLeftovers(data.path);
    if (ended.length > 0)
      log('warn', { pids: ended }, 'ended processes that an earlier run left behind');
    const supervisor = new Supervisor({
      data,
      users,
      bundle,
      readBundle,
      workers: options.workers,
      version: packageVersion(),
      clock: systemClock,
      log,
      onReady: ({ listeners, operatorToken }) =>
        process.stdout.write(
          readyBanner({
            dataDir: options.dataDir,
            listeners,
            operatorToken,
            configPath: options.configPath,
          }),
        ),
    });
    process.on('SIGTERM', () => void supervisor.stop());
    process.on('SIGINT', () => void supervisor.stop());
    process.on('SIGHUP', () => supervisor.reload());
    process.on('SIGUSR2', () => {
      supervisor.replaceProcesses().catch((error: unknown) => {
        log('error', { err: messageOf(error) }, 'processes not replaced');
      });
    });
    const readClock = (): void =>
      void readClockOffset().then((reading) => supervisor.clockRead(reading));
    readClock();
    clockWatch = setInterval(readClock, clockEveryMs);
    return await supervisor.run();
  } finally {
    clearInterval(clockWatch);
    data.release();
  }
}

function packageVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
  const parsed: unknown = JSON.parse(text);
  const version =
    typeof parsed === 'object' && parsed !== null && 'version' in parsed
      ? parsed.version
      : undefined;
  return typeof version === 'string' ? version : 'unknown';
}
