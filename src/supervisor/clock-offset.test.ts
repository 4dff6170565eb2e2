import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTimesyncStatus, parseTracking, readClockOffset } from './clock-offset.ts';

/** Of chrony 4.3, whose only server was five seconds ahead of it. */
const behind =
  '7F000001,127.0.0.1,2,1795269307.912660600,5.000020027,0.000016467,0.000089153,-9.499,-1.923,32.105,0.000357845,0.000090996,1.0,Normal\n';
const unsynchronised =
  '00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised\n';

/** Of systemd 252. */
const timesync = `       Server: 192.0.2.1 (ntp.example)
Poll interval: 34min 8s (min: 32s; max 34min 8s)
         Leap: normal
      Version: 4
      Stratum: 2
    Reference: C0248F97
    Precision: 1us (-24)
Root distance: 13.618ms (max: 5s)
       Offset: +1.234ms
        Delay: 9.541ms
       Jitter: 2.316ms
 Packet count: 11
    Frequency: -13.457ppm
`;

test('chrony says by how much the clock is behind', () => {
  assert.deepEqual(parseTracking(behind), { synchronized: true, aheadSeconds: -5.000020027 });
  const ahead = parseTracking(behind.replace('5.000020027', '-0.000000123'));
  assert.equal(ahead?.aheadSeconds, 0.000000123);
});

test('a chrony that has no source yet knows no offset', () => {
  assert.deepEqual(parseTracking(unsynchronised), {
    synchronized: false,
    aheadSeconds: undefined,
  });
});

test('systemd-timesyncd says what it adds to the clock', () => {
  assert.deepEqual(parseTimesyncStatus(timesync), { synchronized: true, aheadSeconds: -0.001234 });
  for (const [written, seconds] of [
    ['-432us', 0.000432],
    ['+1min 2.5s', -62.5],
    ['0', 0],
    ['-2h 3s', 7_203],
  ] as const) {
    const read = parseTimesyncStatus(timesync.replace('+1.234ms', written));
    assert.ok(Math.abs((read?.aheadSeconds ?? Number.NaN) - seconds) < 1e-9, written);
  }
});

test('a timesyncd without an answer yet knows no offset', () => {
  const waiting = timesync.slice(0, timesync.indexOf('         Leap'));
  assert.deepEqual(parseTimesyncStatus(waiting), { synchronized: false, aheadSeconds: undefined });
});

test('what is neither says nothing', () => {
  for (const text of ['', '506 Cannot talk to daemon\n', 'a,b,c\n', behind.replace('5.0', 'x')])
    assert.equal(parseTracking(text), undefined, text);
  assert.equal(parseTimesyncStatus('Failed to connect to bus\n'), undefined);
});

test('chrony is asked first, then timesyncd, and none of them has to be there', async () => {
  const asked: string[] = [];
  const answers = new Map<string, string>();
  const run = async (path: string): Promise<string | undefined> => {
    asked.push(path);
    return answers.get(path);
  };
  assert.equal(await readClockOffset(run), undefined);
  assert.deepEqual(asked, ['/usr/bin/chronyc', '/usr/bin/timedatectl']);
  answers.set('/usr/bin/timedatectl', timesync);
  assert.equal((await readClockOffset(run))?.aheadSeconds, -0.001234);
  answers.set('/usr/bin/chronyc', behind);
  assert.equal((await readClockOffset(run))?.aheadSeconds, -5.000020027);
});
