/** How a simulated fleet is doing: a line while it runs, the figures at its end. */
import type { ErrorCode } from '../common/base/errors.ts';
import type { FleetState } from '../device/fleet.ts';
import type { Protocol } from '../device/link.ts';
import type { Tally } from '../device/tally.ts';
import { formatFields } from './table.ts';

export interface FleetReport {
  readonly seconds: number;
  readonly devices: number;
  readonly protocols: Readonly<Partial<Record<Protocol, number>>>;
  /** Now, and at any time. */
  readonly connected: number;
  readonly everConnected: number;
  readonly reconnects: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly unacknowledged: number;
  readonly heldBack: number;
  readonly commandsAnswered: number;
  /** From the first transmission of a reading to its acknowledgement; null before there is one. */
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number } | null;
  /** By code. */
  readonly refusedMessages: Counts;
  readonly refusedOthers: Counts;
  readonly refusedDevices: Counts;
  readonly endedConnections: Counts;
}

type Counts = Readonly<Record<string, number>>;

export interface Enrolment {
  readonly devices: number;
  readonly protocols: Readonly<Partial<Record<Protocol, number>>>;
  readonly refused: ReadonlyMap<ErrorCode, number>;
}

export function reportOf(
  enrolment: Enrolment,
  state: FleetState,
  tally: Tally,
  elapsedMs: number,
): FleetReport {
  const refusedDevices = new Map(enrolment.refused);
  for (const [code, count] of state.refusedDevices)
    refusedDevices.set(code, (refusedDevices.get(code) ?? 0) + count);
  return {
    seconds: Math.round(elapsedMs / 100) / 10,
    devices: enrolment.devices,
    protocols: enrolment.protocols,
    connected: state.connected,
    everConnected: state.everConnected,
    reconnects: tally.reconnects,
    sent: tally.sent,
    acknowledged: tally.acknowledged,
    unacknowledged: tally.unanswered + tally.abandoned,
    heldBack: tally.heldBack,
    commandsAnswered: tally.commandsAnswered,
    latencyMs: tally.latencyMs ?? null,
    refusedMessages: Object.fromEntries(tally.refused),
    refusedOthers: Object.fromEntries(tally.refusedOthers),
    refusedDevices: Object.fromEntries(refusedDevices),
    endedConnections: Object.fromEntries(tally.ended),
  };
}

/** `12s  200/200 connected  480 sent  478 acknowledged …`: on one line of a terminal when all is well. */
export function progressText(report: FleetReport): string {
  const { seconds, connected, devices, sent, acknowledged, commandsAnswered, latencyMs } = report;
  const parts = [
    `${Math.floor(seconds)}s`,
    `${connected}/${devices} connected`,
    `${sent} sent`,
    `${acknowledged} acknowledged`,
    latencyMs === null ? 'no latency yet' : `p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms`,
  ];
  if (commandsAnswered > 0) parts.push(`${commandsAnswered} commands answered`);
  const { refusedMessages, refusedDevices, reconnects } = report;
  if (reconnects > 0) parts.push(`${reconnects} reconnects`);
  if (hasAny(refusedMessages)) parts.push(`messages refused: ${countsText(refusedMessages)}`);
  if (hasAny(refusedDevices)) parts.push(`devices refused: ${countsText(refusedDevices)}`);
  return parts.join('  ');
}

export function summaryText(report: FleetReport): string {
  const { latencyMs, seconds, acknowledged } = report;
  const perSecond = seconds > 0 ? (acknowledged / seconds).toFixed(1) : '0';
  const rows: [string, string][] = [
    ['devices', `${report.devices} (${countsText(report.protocols)})`],
    ['connected', `${report.everConnected}, ${report.reconnects} reconnects`],
    ['sent', `${report.sent} in ${seconds} s`],
    ['acknowledged', `${acknowledged}, ${perSecond}/s`],
    ['unacknowledged', String(report.unacknowledged)],
    [
      'latency',
      latencyMs === null
        ? '-'
        : `p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, max ${latencyMs.max} ms`,
    ],
    ['commands answered', String(report.commandsAnswered)],
    ['messages refused', countsText(report.refusedMessages)],
    ['devices refused', countsText(report.refusedDevices)],
  ];
  if (report.heldBack > 0) rows.push(['held back', `${report.heldBack} readings`]);
  if (hasAny(report.refusedOthers)) rows.push(['others refused', countsText(report.refusedOthers)]);
  if (hasAny(report.endedConnections))
    rows.push(['connections lost', countsText(report.endedConnections)]);
  return formatFields(rows);
}

function hasAny(counts: Counts): boolean {
  return Object.keys(counts).length > 0;
}

function countsText(counts: Counts): string {
  const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  return parts.length === 0 ? '0' : parts.join(', ');
}
