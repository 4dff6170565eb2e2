/** The fleet simulator against a real gateway: what it says it did is what backends saw. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { test } from 'node:test';
import { commandLine, repositoryRoot } from '../harness/cli.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway } from '../harness/gateway.ts';
import type { ReceivedMessage } from '../harness/mqtt-bytes.ts';
import { valuesOf } from '../harness/mqtt-properties.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const { gateway, connect } = await sharedGateway({
  config: [
    'routes:',
    '  telemetry: { match: devices/slow-0001/telemetry, rate: { limit: 1/h, burst: 0 } }',
  ].join('\n'),
});
const backend = await connect(await gateway.service('be', 'backend'));
await backend.subscribe('devices/+/telemetry', 'devices/+/status', 'devices/+/command_responses');

/** What `--json` prints, as far as it is asserted here. */
interface Report {
  readonly devices: number;
  readonly protocols: Readonly<Record<string, number>>;
  readonly connected: number;
  readonly everConnected: number;
  readonly reconnects: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly unacknowledged: number;
  readonly commandsAnswered: number;
  readonly latencyMs: Readonly<Record<string, number>>;
  readonly refusedMessages: Readonly<Record<string, number>>;
  readonly refusedDevices: Readonly<Record<string, number>>;
}

const endLimitMs = 120_000;

/** `sallyport simulate --json`, which goes on until it is told to stop. */
class Simulation implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | NodeJS.Signals>;
  #stdout = '';
  #stderr = '';

  /** @param options as they would be typed. */
  constructor(on: Gateway, options: string) {
    const line = ['simulate', '--json', '--data', on.dataDir, ...options.split(' ')];
    const [program, ...rest] = commandLine(line, undefined);
    const child = spawn(program, rest, { cwd: repositoryRoot, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.#process = child;
    this.#ended = new Promise((resolve) => {
      this.#process.once('close', (code, signal) => resolve(code ?? signal ?? 'SIGKILL'));
    });
  }

  /** Ctrl-C. */
  interrupt(): void {
    this.#process.kill('SIGINT');
  }

  /** Its figures, once it has ended well. */
  async report(): Promise<Report> {
    const how = await within(this.#ended, endLimitMs, `the end of simulate; ${this.#stderr}`);
    assert.equal(how, 0, this.#stderr);
    assert.equal(this.#stderr, '');
    // Its shape is what the tests assert.
    return JSON.parse(this.#stdout) as Report;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

async function simulate(options: string): Promise<Report> {
  await using simulation = new Simulation(gateway, options);
  return await simulation.report();
}

const messagesOn = (topic: string): ReceivedMessage[] =>
  backend.messages.filter((message) => message.topic === topic);
const bodyOf = ({ payload }: ReceivedMessage): Record<string, unknown> =>
  JSON.parse(payload) as Record<string, unknown>;

for (const protocol of ['mqtts', 'https'] as const) {
  test(`over ${protocol} every reading that is acknowledged arrives, in order, with plausible values`, async () => {
    const prefix = `${protocol}-`;
    const fleet = `--prefix ${prefix} --protocol ${protocol}`;
    // Three seconds of work: the last device may connect later than the first one.
    const report = await simulate(`${fleet} --devices 4 --rate 2/s --messages 24`);
    assert.deepEqual(report.protocols, { [protocol]: 4 });
    const { sent, acknowledged, unacknowledged, everConnected, reconnects } = report;
    assert.deepEqual([sent, acknowledged, unacknowledged, reconnects], [24, 24, 0, 0]);
    assert.equal(everConnected, 4);
    assert.ok(report.latencyMs['p50']! > 0 && report.latencyMs['p99']! >= report.latencyMs['p50']!);
    let arrived = 0;
    for (const id of ['0001', '0002', '0003', '0004']) {
      const gone = (message: ReceivedMessage): boolean =>
        message.topic === `devices/${prefix}${id}/status` && bodyOf(message)['online'] === false;
      // Published after the last reading, so that all of them are here when it is.
      await backend.message(gone);
      const readings = messagesOn(`devices/${prefix}${id}/telemetry`).map(bodyOf);
      arrived += readings.length;
      assert.deepEqual(
        readings.map(({ seq }) => seq),
        readings.map((_, index) => index + 1),
      );
      for (const { temperature, humidity, battery } of readings) {
        assert.ok(typeof temperature === 'number' && temperature > 0 && temperature < 45);
        assert.ok(typeof humidity === 'number' && humidity > 20 && humidity < 70);
        assert.ok(typeof battery === 'number' && battery >= 0 && battery <= 100);
      }
    }
    assert.equal(arrived, 24);
  });

  test(`over ${protocol} a command is answered, and Ctrl-C ends the fleet with its figures`, async () => {
    const prefix = `told-${protocol}-`;
    const id = `${prefix}0001`;
    await using simulation = new Simulation(
      gateway,
      `--prefix ${prefix} --protocol ${protocol} --devices 1 --rate 2/s`,
    );
    await backend.message(({ topic }) => topic === `devices/${id}/telemetry`);
    const code = await backend.publish(`devices/${id}/commands/fan/speed`, '{"rpm":900}', {
      properties: [['correlationData', Buffer.from('c-1')]],
    });
    assert.ok(code < 0x80);
    const answer = await backend.message(
      ({ topic }) => topic === `devices/${id}/command_responses`,
    );
    assert.equal(bodyOf(answer)['command'], 'fan/speed');
    assert.equal(bodyOf(answer)['result'], 'ok');
    if (protocol === 'mqtts') {
      assert.deepEqual(valuesOf(answer.properties, 'correlationData'), [Buffer.from('c-1')]);
    }
    // Long enough for a command that was not taken out of its mailbox to be given, and answered, again.
    const count = messagesOn(`devices/${id}/telemetry`).length;
    await backend.message(() => messagesOn(`devices/${id}/telemetry`).length >= count + 3);
    simulation.interrupt();
    const report = await simulation.report();
    assert.equal(report.commandsAnswered, 1);
    assert.equal(report.connected, 1);
    assert.equal(messagesOn(`devices/${id}/command_responses`).length, 1);
  });
}

test('without --protocol a fleet is spread over all that is listening', async () => {
  const report = await simulate('--devices 4 --rate 5/s --messages 8');
  assert.deepEqual(report.protocols, { mqtts: 2, https: 2 });
  assert.equal(report.acknowledged, 8);
});

test('the same devices come again, and one that is out of service stays out', async () => {
  // The fleet is done with its last message: by then each device has had seconds to connect.
  const fleet = '--prefix again- --devices 3 --rate 5/s --messages 30';
  assert.equal((await simulate(fleet)).everConnected, 3);
  await gateway.ok('device', 'suspend', 'again-0002');
  const second = await simulate(fleet);
  assert.deepEqual(second.refusedDevices, { standing: 1 });
  assert.deepEqual([second.everConnected, second.acknowledged], [2, 30]);
  const listed = (await gateway.ok('device', 'list', '--json')).json() as { readonly id: string }[];
  assert.equal(listed.filter(({ id }) => id.startsWith('again-')).length, 3);
});

test('a device that is suspended at work stops, is counted, and the others go on', async () => {
  await using simulation = new Simulation(
    gateway,
    '--prefix live- --devices 4 --rate 5/s --seconds 120',
  );
  for (const id of ['live-0001', 'live-0002', 'live-0003', 'live-0004'])
    await backend.message(({ topic }) => topic === `devices/${id}/telemetry`);
  // One over each protocol.
  await gateway.ok('device', 'suspend', 'live-0001');
  await gateway.ok('device', 'suspend', 'live-0002');
  const count = messagesOn('devices/live-0003/telemetry').length;
  await backend.message(() => messagesOn('devices/live-0003/telemetry').length >= count + 10);
  simulation.interrupt();
  const report = await simulation.report();
  assert.deepEqual(report.refusedDevices, { standing: 2 });
  assert.deepEqual([report.connected, report.everConnected], [2, 4]);
});

test('what the gateway refuses is counted by its code', async () => {
  for (const protocol of ['mqtts', 'https']) {
    const report = await simulate(
      `--prefix slow- --protocol ${protocol} --devices 1 --rate 20/s --messages 6`,
    );
    // One an hour, over both protocols together.
    assert.equal(report.acknowledged, protocol === 'mqtts' ? 1 : 0);
    assert.deepEqual(report.refusedMessages, { rate: protocol === 'mqtts' ? 5 : 6 });
  }
});

test('people get a line of progress on standard error and a table on standard output', async () => {
  const { stdout, stderr } = await gateway.ok(
    ...'simulate --prefix table- --devices 2 --rate 2/s --seconds 6'.split(' '),
  );
  assert.match(
    stderr,
    // Every five seconds from the start of the command: a machine that stalls may not have both connected by then.
    /^(?:(?:\d\/2 enrolled|\d+s {2}\d\/2 connected .*)\n){0,2}\d+s {2}2\/2 connected {2}\d+ sent {2}\d+ acknowledged {2}p50 .* p99 .*\n$/,
  );
  assert.match(
    stdout,
    /^devices +2 \(1 mqtts, 1 https\)\nconnected +2, 0 reconnects\nsent +\d+ in /,
  );
  assert.match(stdout, /^latency +p50 [\d.]+ ms, p99 [\d.]+ ms, max [\d.]+ ms$/m);
  assert.match(stdout, /^messages refused +0$/m);
});

test('a fleet of which nobody is let in is a failure that says why', async () => {
  await gateway.ok('device', 'create', 'out-0001', '--out', gateway.at('out'));
  await gateway.ok('device', 'revoke', 'out-0001');
  const { code, stdout, stderr } = await gateway.cli(
    ...'simulate --prefix out- --devices 1 --json'.split(' '),
  );
  assert.equal(code, 1);
  assert.match(stderr, /^error: no device could connect: refused \(standing\); [^\n]+\n$/);
  assert.deepEqual((JSON.parse(stdout) as Report).refusedDevices, { standing: 1 });
});

test('when a worker is killed the fleet comes back, and every reading is acknowledged in the end', async () => {
  await using own = await startGateway({
    workers: 1,
    config:
      'routes: { telemetry: { match: devices/+/telemetry, rate: { limit: 100/s, burst: 100 } } }',
  });
  using reader = await RawMqtt.open({
    port: own.mqttsPort,
    identity: await own.service('be', 'backend'),
  });
  assert.equal((await reader.connect()).code, 0);
  await reader.subscribe('devices/+/telemetry');
  await using simulation = new Simulation(own, '--devices 6 --rate 5/s --messages 300');
  const { workers } = own.run();
  await until('a reading of each device', 60_000, () => {
    return new Set(reader.messages.map(({ topic }) => topic)).size === 6;
  });
  for (const pid of own.processes().workers) process.kill(pid, 'SIGKILL');
  await own.runFile((run) => run.workers[0] !== workers[0]);
  const report = await simulation.report();
  assert.deepEqual([report.sent, report.acknowledged, report.unacknowledged], [300, 300, 0]);
  assert.ok(report.reconnects >= 6, `${report.reconnects} reconnects`);
});
