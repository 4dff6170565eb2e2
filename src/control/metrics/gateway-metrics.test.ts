import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClockReading, WorkerMetrics } from '../../common/ipc/messages.ts';
import { GatewayMetrics } from './gateway-metrics.ts';
import { parseSeriesName } from './series-name.ts';
import { maxSeriesPerSlot, WorkerSeries } from './worker-series.ts';

function report(
  counters: Record<string, number>,
  gauges: Record<string, number> = {},
): WorkerMetrics {
  return { counters, gauges, seen: {} };
}

const messages = 'sallyport_messages_total{direction="in"}';
const sessions = 'sallyport_sessions';

const state = () => ({
  startedAt: 1_700_000_000_000,
  seq: 9,
  workers: [{ slot: 0, acknowledgedSeq: 7 }],
  identities: { device: 3, service: 1, operator: 0 },
  clock: { synchronized: true, aheadSeconds: -0.25 },
  lists: [{ issuer: 'ab', number: 7, nextUpdate: 1_800_000_000_500 }],
  expiring: { 0: 1, 1: 2, 7: 3, 30: 4 },
  ends: { root: 4_000_000, issuing: 3_000_000, server: 2_000_000 },
  enrolments: new Map([
    ['issued', 4],
    ['unauthenticated', 2],
  ]),
});

async function lines(metrics: GatewayMetrics): Promise<ReadonlySet<string>> {
  return new Set((await metrics.text()).split('\n'));
}

test('a slot counts on when its worker is replaced', async () => {
  const metrics = new GatewayMetrics(state);
  metrics.accept(0, 1, report({ [messages]: 10 }, { [sessions]: 4 }));
  metrics.accept(1, 2, report({ [messages]: 5 }));
  metrics.workerGone(0, 1);
  let text = await lines(metrics);
  assert.ok(
    text.has('sallyport_messages_total{direction="in",worker="0"} 10'),
    [...text].join('\n'),
  );
  assert.ok(![...text].some((line) => line.startsWith('sallyport_sessions')));

  metrics.accept(0, 3, report({ [messages]: 2 }, { [sessions]: 1 }));
  metrics.accept(0, 1, report({ [messages]: 11 }, { [sessions]: 5 }));
  metrics.workerGone(0, 1);
  text = await lines(metrics);
  assert.ok(text.has('sallyport_messages_total{direction="in",worker="0"} 12'));
  assert.ok(text.has('sallyport_messages_total{direction="in",worker="1"} 5'));
  assert.ok(text.has('sallyport_sessions{worker="0"} 1'));
  assert.ok(text.has('# TYPE sallyport_messages_total counter'));
  assert.ok(text.has('# TYPE sallyport_sessions gauge'));
});

test('a worker cannot turn its counters back', () => {
  const series = new WorkerSeries();
  series.accept(0, 1, report({ [messages]: 10 }));
  series.accept(0, 1, report({ [messages]: 3 }));
  assert.deepEqual(
    series.read().map(({ value }) => value),
    [10],
  );
});

test('series are bounded in number and form', () => {
  const series = new WorkerSeries();
  const flood = Object.fromEntries(
    Array.from({ length: maxSeriesPerSlot + 7 }, (_, i) => [`sallyport_x{id="${i}"}`, 1]),
  );
  series.accept(0, 1, report(flood));
  assert.equal(series.read().length, maxSeriesPerSlot);
  assert.equal(series.refused, 7);
  series.accept(1, 1, report({ [messages]: Number.NaN, 'up{} 1\nforged': 1 }));
  assert.equal(series.refused, 9);
  assert.equal(series.read().length, maxSeriesPerSlot);
});

test('series names that are not ours are refused', () => {
  for (const text of [
    '',
    'up',
    'sallyport_',
    'sallyport_control_identities',
    'sallyport_a{',
    'sallyport_a{}x',
    'sallyport_a{b=c}',
    'sallyport_a{b="c}',
    'sallyport_a{b="c\nd"}',
    'sallyport_a{b="c\\"}',
    'sallyport_a{worker="3"}',
    'sallyport_a{b="1",b="2"}',
    'sallyport_a{__proto__="1"}'.replace('__proto__', 'a-b'),
    `sallyport_a{b="${'x'.repeat(130)}"}`,
  ]) {
    assert.equal(parseSeriesName(text), undefined, text);
  }
  assert.deepEqual(parseSeriesName('sallyport_a{code="too-large",entry="publish"}'), {
    metric: 'sallyport_a',
    labels: [
      ['code', 'too-large'],
      ['entry', 'publish'],
    ],
  });
  const spool = `${'r'.repeat(64)}/a_${'b'.repeat(62)}`;
  assert.deepEqual(parseSeriesName(`sallyport_spool_waiting{spool="${spool}"}`)?.labels, [
    ['spool', spool],
  ]);
});

test('hostile label and metric names pollute nothing', async () => {
  const metrics = new GatewayMetrics(state);
  metrics.accept(
    0,
    1,
    report({ 'sallyport_a{__proto__="x"}': 1, 'sallyport_a{constructor="y"}': 2 }),
  );
  await metrics.text();
  assert.equal(Object.getOwnPropertyDescriptor(Object.prototype, 'x'), undefined);
  assert.equal(({} as Record<string, unknown>)['worker'], undefined);
});

test('one name cannot be a counter and a gauge', async () => {
  const metrics = new GatewayMetrics(state);
  metrics.accept(0, 1, report({ sallyport_a: 1 }, { sallyport_a: 2 }));
  const text = await metrics.text();
  assert.equal(text.match(/^sallyport_a\{/gm)?.length, 1);
});

test('the clock of the machine is reported as far as anybody knows it', async () => {
  const clockLines = async (clock: ClockReading | undefined): Promise<string[]> =>
    [...(await lines(new GatewayMetrics(() => ({ ...state(), clock }))))].filter((line) =>
      line.startsWith('sallyport_control_clock'),
    );
  assert.deepEqual(await clockLines(state().clock), [
    'sallyport_control_clock_synchronized 1',
    'sallyport_control_clock_offset_seconds -0.25',
  ]);
  assert.deepEqual(await clockLines({ synchronized: false, aheadSeconds: undefined }), [
    'sallyport_control_clock_synchronized 0',
  ]);
  assert.deepEqual(await clockLines(undefined), []);
});

test('the revocation lists of our own CAs are reported', async () => {
  const text = await lines(new GatewayMetrics(state));
  assert.ok(text.has('sallyport_crl_number{issuer="ab"} 7'));
  assert.ok(text.has('sallyport_crl_next_update_seconds{issuer="ab"} 1800000000.5'));
});

test('the revocation lists of other authorities are reported by trust anchor', async () => {
  const text = await lines(
    new GatewayMetrics(state, () => [
      {
        anchor: 'factory',
        current: false,
        revoked: 3,
        nextUpdate: 1_800_000_000_000,
        refused: 2,
        failed: 1,
      },
      {
        anchor: 'new',
        current: true,
        revoked: 0,
        nextUpdate: undefined,
        refused: 0,
        failed: 0,
      },
    ]),
  );
  const prefix = 'sallyport_trust_anchor_crl';
  for (const line of [
    'current{anchor="factory"} 0',
    'current{anchor="new"} 1',
    'revoked{anchor="factory"} 3',
    'next_update_seconds{anchor="factory"} 1800000000',
    'refused_total{anchor="factory"} 2',
    'failures_total{anchor="factory"} 1',
  ]) {
    assert.ok(text.has(`${prefix}_${line}`), line);
  }
  assert.ok(
    ![...text].some((line) => line.startsWith(`${prefix}_next_update_seconds{anchor="new"`)),
  );
});

test('control reports itself, and two of them can live in one process', async () => {
  assert.ok(new GatewayMetrics(state));
  const text = await lines(new GatewayMetrics(state));
  assert.ok(text.has('sallyport_control_identities{kind="device"} 3'));
  assert.ok(text.has('sallyport_control_certificate_ends_seconds{certificate="issuing"} 3000'));
  assert.ok(text.has('sallyport_control_enrolments_total{outcome="issued"} 4'));
  assert.ok(text.has('sallyport_control_worker_lag{worker="0"} 2'));
  assert.ok(text.has('sallyport_control_started_seconds 1700000000'));
  assert.ok([...text].some((line) => line.startsWith('sallyport_control_resident_memory_bytes ')));
});
