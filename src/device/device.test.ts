import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { Device } from './device.ts';
import type { DeviceOptions } from './device.ts';
import { FakeLink } from './fake-link.ts';
import { Refusal } from './link.ts';
import { Tally } from './tally.ts';

const intervalMs = 1_000;
let links: FakeLink[] = [];
/** How the next connections are answered; let in when there is none left. */
let refusals: ErrorCode[] = [];
let accepts = true;
let tally = new Tally();
let nowMs = 0;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  links = [];
  refusals = [];
  accepts = true;
  tally = new Tally();
  nowMs = 0;
});

/** Without jitter: the first reading half an interval after the connection, then one per interval. */
function makeDevice(change: Partial<DeviceOptions> = {}): Device {
  let seq = 0;
  return new Device({
    id: 'd1',
    link: (events) => {
      const link = new FakeLink(events, refusals.shift());
      link.accepts = accepts;
      links.push(link);
      return link;
    },
    measure: () => Buffer.from(JSON.stringify({ seq: (seq += 1) })),
    intervalMs,
    backoff: { minMs: 100, maxMs: 400 },
    clock: { now: () => nowMs, monotonic: () => nowMs },
    random: () => 0.5,
    tally,
    mayMeasure: () => true,
    changed: () => {},
    ...change,
  });
}

/** Lets time pass in small steps, with everything done that each of them sets off. */
async function pass(ms: number): Promise<void> {
  await settle();
  for (let done = 0; done < ms; done += 25) {
    nowMs += 25;
    mock.timers.tick(25);
    await settle();
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await setImmediate();
}

const seqs = (link: FakeLink | undefined): unknown[] => link?.bodies('telemetry') ?? [];

test('it waits for its turn, says that it is there, and sends a reading per interval', async () => {
  const device = makeDevice();
  device.start(200);
  await pass(175);
  assert.equal(links.length, 0);
  await pass(25);
  assert.deepEqual(links[0]?.bodies('status'), [{ online: true }]);
  await pass(475);
  assert.equal(tally.sent, 0, 'the first reading is due at a moment of its own');
  await pass(3_025);
  assert.deepEqual(seqs(links[0]), [{ seq: 1 }, { seq: 2 }, { seq: 3 }, { seq: 4 }]);
  assert.deepEqual([tally.sent, tally.acknowledged, tally.unanswered], [4, 4, 0]);
  assert.equal(device.phase, 'connected');
});

test('on the way out it says that it is gone', async () => {
  const device = makeDevice();
  device.start(0);
  await pass(25);
  await device.stop();
  assert.deepEqual(links[0]?.bodies('status'), [{ online: true }, { online: false }]);
  assert.equal(links.at(0)?.closed, true);
  assert.equal(device.phase, 'stopped');
});

test('a gateway that does not hear the goodbye is left after two seconds', async () => {
  accepts = false;
  const device = makeDevice();
  device.start(0);
  await pass(25);
  const stopped = device.stop();
  await pass(1_900);
  assert.equal(links[0]?.closed, false);
  await pass(100);
  await stopped;
  assert.equal(links.at(0)?.closed, true);
});

test('stopped before its turn it never connects', async () => {
  const device = makeDevice();
  device.start(1_000);
  await device.stop();
  await pass(2_000);
  assert.equal(links.length, 0);
});

test('after an interruption it comes back, later each time, until a message was answered', async () => {
  refusals = ['io', 'busy', 'unavailable', 'timeout'];
  const device = makeDevice();
  device.start(0);
  // Three quarters of 100, 200, 400 and 400 ms.
  const begun: number[] = [];
  for (let at = 0; at < 1_200; at += 25) {
    await pass(25);
    if (links.length > begun.length) begun.push(nowMs);
  }
  assert.deepEqual(begun, [25, 100, 250, 550, 850]);
  assert.equal(device.phase, 'connected');
  assert.deepEqual([...tally.ended.keys()], ['io', 'busy', 'unavailable', 'timeout']);
  assert.equal(tally.reconnects, 4);
  await pass(1_000);
  assert.ok(tally.acknowledged > 0);
  links[4]?.end(new SallyportError('io', 'broken'));
  await pass(75);
  assert.equal(links.length, 6, 'after an answer the first wait is the shortest again');
});

test('who is turned away for good does not come again', async () => {
  for (const code of ['standing', 'unauthenticated', 'invalid-certificate'] as const) {
    links = [];
    refusals = [code];
    const device = makeDevice();
    device.start(0);
    await pass(5_000);
    assert.equal(links.length, 1, code);
    assert.equal(device.phase, 'refused');
    assert.equal(device.lastEnd?.code, code);
    assert.equal(device.everConnected, false);
  }
});

test('a live device that loses its standing stops, and its open readings are given up', async () => {
  accepts = false;
  const device = makeDevice();
  device.start(0);
  await pass(2_000);
  assert.equal(tally.unanswered, 2);
  links[0]?.end(new SallyportError('standing', 'suspended'));
  await pass(5_000);
  assert.equal(links.length, 1);
  assert.equal(device.phase, 'refused');
  assert.deepEqual([tally.abandoned, tally.unanswered], [2, 0]);
});

test('a reading without an answer is sent again on the next connection, and counted once', async () => {
  accepts = false;
  const device = makeDevice();
  device.start(0);
  await pass(2_000);
  assert.deepEqual(seqs(links[0]), [{ seq: 1 }, { seq: 2 }]);
  links[0]?.published.find(({ channel }) => channel === 'telemetry')?.accept();
  await settle();
  accepts = true;
  links[0]?.end(new SallyportError('io', 'broken'));
  await pass(100);
  assert.deepEqual(seqs(links[1]), [{ seq: 2 }]);
  assert.deepEqual([tally.sent, tally.acknowledged, tally.unanswered], [2, 2, 0]);
  assert.ok((tally.latencyMs?.max ?? 0) > 500, 'measured from the first attempt');
});

test('a reading that is refused is counted by its code and not sent again', async () => {
  accepts = false;
  const device = makeDevice();
  device.start(0);
  await pass(600);
  links[0]?.published.at(-1)?.refuse(new Refusal('schema'));
  await settle();
  links[0]?.end(new SallyportError('io', 'broken'));
  await pass(100);
  assert.deepEqual([...tally.refused], [['schema', 1]]);
  assert.deepEqual(seqs(links[1]), []);
});

test('a gateway that answers nothing is not given readings without end', async () => {
  accepts = false;
  const device = makeDevice();
  device.start(0);
  await pass(30_000);
  assert.equal(tally.sent, 16);
  assert.equal(tally.heldBack, 14);
  assert.equal(device.phase, 'connected');
});

test('it measures no more when the fleet has measured enough, and stays connected', async () => {
  const device = makeDevice({ mayMeasure: () => tally.sent < 2 });
  device.start(0);
  await pass(10_000);
  assert.equal(tally.sent, 2);
  assert.equal(device.phase, 'connected');
  await device.stop();
});

test('a command is done when its answer was taken over, or refused', async () => {
  const device = makeDevice();
  device.start(0);
  await pass(25);
  const [link] = links;
  assert.ok(link !== undefined);
  const command = { name: 'reboot', id: 'c1', payload: Buffer.from('{}') };
  await link.events.command({ ...command, correlationData: undefined });
  assert.deepEqual(link.bodies('command_responses'), [
    { command: 'reboot', id: 'c1', result: 'ok' },
  ]);
  assert.equal(tally.commandsAnswered, 1);

  link.accepts = false;
  const refused = link.events.command({ ...command, correlationData: undefined });
  link.published.at(-1)?.refuse(new Refusal('rate'));
  await refused;
  assert.deepEqual([...tally.refusedOthers], [['rate', 1]]);

  const lost = link.events.command({ ...command, correlationData: undefined });
  link.end(new SallyportError('io', 'broken'));
  await assert.rejects(lost, { code: 'io' });
  assert.equal(tally.commandsAnswered, 1);
});
