/** Whether the clock of this machine can be believed: most of what a handshake says about time hangs on it. */
import { readClockOffset } from '../../supervisor/clock-offset.ts';
import type { RunProgram } from '../../supervisor/clock-offset.ts';
import { info, warning } from './finding.ts';
import type { Finding } from './finding.ts';

/** Certificates are judged to the second; a signed request, where one is asked for, to a minute or so. */
const muchSeconds = 5;

/** Undefined when nobody here keeps the clock, or none that can be asked: a laptop or a container is no fault. */
export async function clockFinding(run?: RunProgram): Promise<Finding | undefined> {
  const reading = await readClockOffset(run);
  if (reading === undefined) return undefined;
  const { synchronized, aheadSeconds = 0 } = reading;
  if (!synchronized) {
    return warning(
      'clock-not-synchronized',
      'the clock of this machine is not synchronized',
      'see why with: chronyc tracking, or timedatectl timesync-status; let it reach an NTP server',
    );
  }
  const off = `${Math.abs(aheadSeconds).toFixed(3)} s ${aheadSeconds < 0 ? 'behind' : 'ahead'}`;
  return Math.abs(aheadSeconds) < muchSeconds
    ? info('clock', `the clock of this machine is synchronized, ${off}`)
    : warning(
        'clock-off',
        `the clock of this machine is ${off}`,
        'let it be set at once: chronyc makestep',
      );
}
