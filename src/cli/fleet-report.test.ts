import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FleetState } from '../device/fleet.ts';
import { countIn, Tally } from '../device/tally.ts';
import { progressText, reportOf, summaryText } from './fleet-report.ts';

const state: FleetState = {
  devices: 9,
  connected: 7,
  everConnected: 8,
  refusedDevices: new Map([['standing', 2]]),
};
const enrolment = {
  devices: 10,
  protocols: { mqtts: 5, https: 5 },
  refused: new Map([['standing', 1] as const]),
};

function busyTally(): Tally {
  const tally = new Tally();
  tally.sent = 12;
  for (let at = 0; at < 8; at += 1) tally.acknowledgedAfter(2);
  countIn(tally.refused, 'rate');
  countIn(tally.refused, 'rate');
  tally.abandoned = 1;
  tally.commandsAnswered = 3;
  tally.reconnects = 4;
  countIn(tally.ended, 'io');
  return tally;
}

test('a report adds up: what was sent is acknowledged, refused or unacknowledged', () => {
  const report = reportOf(enrolment, state, busyTally(), 4_049);
  const { sent, acknowledged, unacknowledged, refusedMessages } = report;
  assert.deepEqual([sent, acknowledged, unacknowledged, refusedMessages], [12, 8, 2, { rate: 2 }]);
  assert.deepEqual(report.refusedDevices, { standing: 3 }, 'at the desk and at the door');
  assert.equal(report.seconds, 4);
});

test('the line of progress has what is there and leaves out what is not', () => {
  assert.equal(
    progressText(reportOf(enrolment, state, busyTally(), 4_900)),
    '4s  7/10 connected  12 sent  8 acknowledged  p50 2 ms, p99 2 ms  3 commands answered  4 reconnects  messages refused: 2 rate  devices refused: 3 standing',
  );
  const none = { ...enrolment, refused: new Map() };
  assert.equal(
    progressText(reportOf(none, { ...state, refusedDevices: new Map() }, new Tally(), 0)),
    '0s  7/10 connected  0 sent  0 acknowledged  no latency yet',
  );
});

test('the summary is a table', () => {
  assert.equal(
    summaryText(reportOf(enrolment, state, busyTally(), 4_000)),
    `devices            10 (5 mqtts, 5 https)
connected          8, 4 reconnects
sent               12 in 4 s
acknowledged       8, 2.0/s
unacknowledged     2
latency            p50 2 ms, p99 2 ms, max 2 ms
commands answered  3
messages refused   2 rate
devices refused    3 standing
connections lost   1 io
`,
  );
});
