/**
 * How far the clock of this machine is off, from whoever keeps it: chrony or systemd-timesyncd. The supervisor asks, since
 * the other processes may not start programs.
 */
import { execFile } from 'node:child_process';
import type { ClockReading } from '../common/ipc/messages.ts';

/** With fixed paths: the supervisor may be root, and `PATH` is whoever's. */
const chronyc = '/usr/bin/chronyc';
const timedatectl = '/usr/bin/timedatectl';
const answerMs = 5_000;
const maxAnswerBytes = 64 * 1024;

/** @returns what the program printed; undefined when it is not there, does not answer or fails. */
export type RunProgram = (path: string, args: readonly string[]) => Promise<string | undefined>;

/** Undefined when nobody here knows. */
export async function readClockOffset(
  run: RunProgram = runProgram,
): Promise<ClockReading | undefined> {
  const tracking = await run(chronyc, ['-c', '-n', 'tracking']);
  const chrony = tracking === undefined ? undefined : parseTracking(tracking);
  if (chrony !== undefined) return chrony;
  const status = await run(timedatectl, ['timesync-status']);
  return status === undefined ? undefined : parseTimesyncStatus(status);
}

/**
 * The fields of `chronyc -c tracking` (chronyc(1)): the fifth is by how many seconds the clock is behind, the last the
 * leap status.
 */
export function parseTracking(text: string): ClockReading | undefined {
  const fields = text.trim().split(',');
  const behind = fields[4] ?? '';
  const leap = fields.at(-1);
  if (fields.length < 14 || !/^-?\d{1,12}\.\d{1,12}$/.test(behind)) return undefined;
  const synchronized = leap !== 'Not synchronised';
  // Until it is, the offset is zero for want of a better one.
  return { synchronized, aheadSeconds: synchronized ? negative(Number(behind)) : undefined };
}

/** `timedatectl timesync-status`: what is added to the clock, as a time span of systemd.time(7); none before the first answer. */
export function parseTimesyncStatus(text: string): ClockReading | undefined {
  if (!/^\s*Server: /m.test(text)) return undefined;
  const [, sign, span = ''] = /^\s*Offset: ([+-]?)(\S.*?)\s*$/m.exec(text) ?? [];
  const seconds = span === '' ? undefined : spanSeconds(span);
  if (seconds === undefined) return { synchronized: false, aheadSeconds: undefined };
  return { synchronized: true, aheadSeconds: sign === '-' ? seconds : negative(seconds) };
}

const secondsOf: ReadonlyMap<string, number> = new Map([
  ['us', 1e-6],
  ['ms', 1e-3],
  ['s', 1],
  ['min', 60],
  ['h', 3_600],
  ['d', 86_400],
  ['w', 604_800],
  ['month', 2_629_800],
  ['y', 31_557_600],
]);

/** `1min 2.345s`. */
function spanSeconds(text: string): number | undefined {
  let seconds = 0;
  for (const part of text.split(' ')) {
    const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d{1,9})?)([a-z]+)$/.exec(part) ?? [];
    // `0` and `infinity` come without one.
    const factor = part === '0' ? 0 : secondsOf.get(unit);
    if (factor === undefined) return undefined;
    seconds += part === '0' ? 0 : Number(number) * factor;
  }
  return seconds;
}

/** Without a zero that has a sign. */
function negative(value: number): number {
  return value === 0 ? 0 : -value;
}

function runProgram(path: string, args: readonly string[]): Promise<string | undefined> {
  const env = { LC_ALL: 'C.UTF-8' };
  const options = {
    env,
    timeout: answerMs,
    maxBuffer: maxAnswerBytes,
    killSignal: 'SIGKILL',
  } as const;
  return new Promise((resolve) => {
    execFile(path, args, options, (error, stdout) => resolve(error === null ? stdout : undefined));
  });
}
