/**
 * Whatever happens to the backend or to the gateway, a message that a device was promised arrives: in order for each
 * device, and twice only under the same id.
 *
 * Each test has devices of its own, over MQTT and HTTPS, to a route that sends batches and to one that sends single
 * messages; they keep sending while it happens. The next test goes on with what the one before has left.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { BackendRecord } from '../harness/backend-record.ts';
import { startBackend } from '../harness/backend.ts';
import { startGateway } from '../harness/gateway.ts';
import { NumberedLoad } from '../harness/numbered-load.ts';
import { allGone, isContinued } from '../harness/processes.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const devicesPerTest = 6;
/** Messages of each device before it happens, and after it. */
const around = 15;
const everyMs = 20;
const timeoutMs = 700;
/** Less than the 2 s after which the supervisor kills a silent worker. */
const momentMs = 1_000;

const backend = await startBackend();
after(() => backend[Symbol.asyncDispose]());

function configWith(batch: number): string {
  const common = `timeout: ${timeoutMs}ms, retry: { min: 50ms, max: 200ms }`;
  const rates =
    'limits: { drain: 2s, identityRates: { device: { limit: 100000/s, burst: 100000 } } }';
  return `routes:
  telemetry: { match: devices/+/telemetry, rate: [], to: [ { http: '${backend.url}', batch: ${batch}, batchWait: 30ms, ${common} } ] }
  diagnostics: { match: devices/+/diagnostics, rate: [], to: [ { http: '${backend.url}', ${common} } ] }
${rates}`;
}

const folder = temporaryFolder();
const options = { workers: 2, folder, config: configWith(20) };
let gateway = await startGateway(options);
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

interface Outage {
  readonly what: string;
  /** While devices send. */
  readonly happens: (load: NumberedLoad) => Promise<void>;
  /** What must show that it did happen. */
  readonly shows?: (record: BackendRecord, load: NumberedLoad) => void;
}

const worker = (at: number): number => {
  const pid = gateway.run().workers[at];
  assert.ok(pid !== undefined, `no worker ${at}`);
  return pid;
};

async function workersWithout(gone: number): Promise<void> {
  await gateway.runFile(({ workers }) => workers.length === 2 && !workers.includes(gone));
}

/** When the machine stands still meanwhile, the moment is too long and the worker is replaced: then the next one is it. */
async function stopForAMoment(at: number): Promise<void> {
  for (;;) {
    const stopped = worker(at);
    process.kill(stopped, 'SIGSTOP');
    await delay(momentMs);
    if (isContinued(stopped)) return;
    await workersWithout(stopped);
  }
}

/** Requests of these devices to which the backend did that. */
function did(record: BackendRecord, what: string): number {
  return record.requests.filter((request) => request.did === what).length;
}

async function backendDid(load: NumberedLoad, what: string, requests: number): Promise<void> {
  const devices = new Set(load.devices.map(({ id }) => id));
  await backend.recorded(
    `${requests} requests: ${what}`,
    (record) => did(record.about(devices), what) >= requests,
  );
}

const outages: readonly Outage[] = [
  {
    what: 'the backend is killed in the middle of batches, three times',
    happens: async (load) => {
      for (let round = 0; round < 3; round += 1) {
        await backend.behave({ do: 'slow', ms: 100 });
        await backendDid(load, 'slow', 3 * (round + 1));
        await backend.kill();
        await load.taken(around);
        await backend.start();
      }
    },
  },
  {
    what: 'the backend takes a message and dies before it says so, four times',
    happens: async (load) => {
      for (let round = 1; round <= 4; round += 1) {
        await backend.behave({ do: 'die' });
        await backend.ended();
        await load.taken(5);
        await backend.start();
      }
    },
    shows: (record) => {
      assert.ok(did(record, 'die') >= 4);
      assert.ok(record.repetitions >= 4, `${record.repetitions} repetitions`);
    },
  },
  {
    what: 'the backend takes longer than the gateway waits',
    happens: async (load) => {
      await backend.behave({ do: 'slow', ms: timeoutMs * 2 });
      await backendDid(load, 'slow', 4);
      await load.taken(around);
      await backend.behave({ do: 'accept' });
    },
    shows: (record) => assert.ok(record.repetitions > 0),
  },
  {
    what: 'the backend answers 500, 503 with Retry-After, 429 and 302 by turns',
    happens: async (load) => {
      const statuses = [500, 503, 429, 302, 502, 500];
      await backend.behave(
        { do: 'answer', status: 500 },
        ...statuses.map((status) => ({ do: 'answer', status, retryAfterSeconds: 0 }) as const),
      );
      await backendDid(load, 'answer', statuses.length + 3);
      await load.taken(around);
      await backend.behave({ do: 'accept' });
    },
  },
  {
    what: 'the backend reads and never answers',
    happens: async (load) => {
      await backend.behave({ do: 'hang' });
      await backendDid(load, 'hang', 4);
      await load.taken(around);
      await backend.behave({ do: 'accept' });
    },
  },
  {
    what: 'the backend resets connections, and breaks off its answers',
    happens: async (load) => {
      await backend.behave(
        ...([{ do: 'reset' }, { do: 'reset' }] as const),
        ...Array.from({ length: 6 }, () => ({ do: 'cut' }) as const),
        ...Array.from({ length: 6 }, () => ({ do: 'reset' }) as const),
      );
      await load.taken(around * 2);
      await backend.behave({ do: 'accept' });
    },
  },
  {
    what: 'the backend stops for a while, with connections open',
    happens: async (load) => {
      backend.pause();
      await load.taken(around * 4);
      backend.resume();
    },
  },
  ...[0, 1].map((at) => ({
    what: `worker ${at} is killed`,
    happens: async (load: NumberedLoad) => {
      await backend.behave({ do: 'slow', ms: 50 });
      const victim = worker(at);
      process.kill(victim, 'SIGKILL');
      await load.taken(around);
      await workersWithout(victim);
      await backend.behave({ do: 'accept' });
    },
  })),
  {
    what: 'a worker is killed while the backend is down',
    happens: async (load) => {
      await backend.kill();
      const victim = worker(1);
      process.kill(victim, 'SIGKILL');
      await load.taken(around);
      await workersWithout(victim);
      await backend.start();
    },
  },
  {
    what: 'control is killed',
    happens: async (load) => {
      const control = gateway.controlPid;
      process.kill(control, 'SIGKILL');
      await allGone([control]);
      await load.taken(around);
    },
  },
  {
    what: 'a worker is stopped for a moment, and comes back to what others have done meanwhile',
    happens: async (load) => {
      for (const at of [0, 1]) {
        await stopForAMoment(at);
        await load.taken(around);
      }
    },
  },
  {
    what: 'a worker is stopped until it is replaced, and then the other one',
    happens: async (load) => {
      for (const stopped of gateway.run().workers) {
        process.kill(stopped, 'SIGSTOP');
        // The supervisor kills it before that; what it held is another worker's to deliver.
        await workersWithout(stopped);
        await load.taken(around);
      }
    },
    shows: (_, load) => assert.ok(load.connections > devicesPerTest),
  },
  {
    what: 'the supervisor is killed, and a new gateway starts on its data',
    happens: async (load) => {
      const { control, workers } = gateway.processes();
      gateway.signal('SIGKILL');
      await gateway.exited();
      await allGone([...control, ...workers]);
      gateway = await startGateway(options);
      await load.taken(around);
    },
    shows: (_, load) => assert.ok(load.connections >= devicesPerTest * 2),
  },
  {
    what: 'every process of the gateway is killed at once while the backend is down',
    happens: async (load) => {
      await backend.kill();
      await load.taken(around);
      await gateway.kill();
      gateway = await startGateway(options);
      await load.taken(around);
      await backend.start();
    },
  },
  {
    what: 'the gateway is upgraded',
    happens: async (load) => {
      const { workers } = gateway.run();
      gateway.signal('SIGUSR2');
      await gateway.runFile(
        (run) => run.workers.length === 2 && !run.workers.some((pid) => workers.includes(pid)),
        40_000,
      );
      await allGone(workers, 20_000);
      await load.taken(around);
    },
  },
  {
    what: 'a reload changes the batches while the backend is slow',
    happens: async (load) => {
      await backend.behave({ do: 'slow', ms: 60 });
      for (const batch of [1, 20]) {
        gateway.configure(configWith(batch));
        // An upgrade, which may have been just before, replaces control last.
        await until('it is applied', 60_000, async () => (await gateway.cli('reload')).code === 0);
        await load.taken(around);
      }
      await backend.behave({ do: 'accept' });
    },
    shows: (record) => {
      const sizes = new Set(record.requests.map(({ events }) => events.length));
      assert.ok(Math.max(...sizes) > 7, [...sizes].join());
    },
  },
];

const identities = await gateway.devices(
  ...outages.flatMap((_, i) => Array.from({ length: devicesPerTest }, (__, k) => `d${i}-${k}`)),
);

for (const [i, { what, happens, shows }] of outages.entries()) {
  test(`${what}: all that was promised arrives in order, and twice only under its id`, async () => {
    const own = identities.slice(i * devicesPerTest, (i + 1) * devicesPerTest);
    const load = new NumberedLoad({ identities: own, gateway: () => gateway, everyMs });
    try {
      await load.taken(around);
      await happens(load);
      await load.taken(around);
    } finally {
      await load.stop();
    }
    const record = await load.arrived(backend);
    // A device that waits for no answers and is refused one message has sent the next ones already.
    assert.deepEqual(load.refusals, []);
    shows?.(record, load);
  });
}
