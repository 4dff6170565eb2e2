/**
 * Cost of the spool. Prints one JSON line per subject: microseconds of CPU per message, over all threads of the process,
 * the median and the spread of the rounds. Compare lines of one run only.
 *
 * `store` is a message put into LMDB, read and removed again, as it is or sealed (`sealed`). `spools` is the whole way
 * of an accepted message to a backend that answers at once: what HTTP costs comes on top, shared by the messages of a
 * batch.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/common/base/clock.ts';
import { silentLogger } from '../src/common/base/logger.ts';
import { principalName } from '../src/common/base/principal.ts';
import { noProperties } from '../src/common/codec/mqtt/packets.ts';
import type { BackendSettings } from '../src/common/ipc/snapshot.ts';
import type { Message } from '../src/worker/broker/message.ts';
import type { BackendSender } from '../src/worker/routes/backend-client.ts';
import { partitionOf, partitions } from '../src/worker/routes/partition.ts';
import type { RecordSeal, SpoolStore } from '../src/worker/routes/ports.ts';
import { encodeRecord, SpoolRecords } from '../src/worker/routes/spool-record.ts';
import { Spools } from '../src/worker/routes/spools.ts';
import { HandPeers, PeersGroup } from '../src/worker/routes/test-support.ts';
import { LmdbEnvironment } from '../src/worker/store/lmdb-environment.ts';
import { RecordCipher } from '../src/worker/store/record-cipher.ts';

const rounds = 7;
const messages = 20_000;
/** Accepted in one turn of the event loop: a busy worker. */
const perTurn = 50;
const devices = 1_000;
const payload = Buffer.from(
  JSON.stringify({ temperature: 22.5, humidity: 41, battery: 3.71, at: 1_764_000_000 }),
);

const none: ReadonlySet<string> = new Set();
const sealed: RecordSeal = new RecordCipher(randomBytes(32));
const open: RecordSeal = { seal: (_context, plain) => plain, open: (_context, record) => record };

const telemetry: readonly Message[] = Array.from({ length: devices }, (_, i) => ({
  topic: `devices/sensor-${i}/telemetry`,
  payload,
  qos: 1,
  retain: false,
  properties: noProperties,
  publisher: principalName('device', `sensor-${i}`),
  publisherSession: '',
  delivery: undefined,
  expiresAt: undefined,
}));

function pick(i: number): Message {
  const message = telemetry[i % devices];
  if (message === undefined) throw new RangeError('no such device');
  return message;
}

function settings(batch: number): BackendSettings {
  return {
    spool: 'telemetry/backend',
    route: 'telemetry',
    match: 'devices/+/telemetry',
    url: 'http://127.0.0.1:9/',
    batch,
    batchWaitMs: 20,
    timeoutMs: 10_000,
    requests: 8,
    retry: { minMs: 500, maxMs: 30_000 },
    messages: 10_000_000,
    bytes: 10_000_000_000,
    deadLetters: 10,
    tls: { ca: undefined, client: undefined },
  };
}

async function measure(name: string, run: () => Promise<void>): Promise<void> {
  const spent: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const before = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(before);
    // The first round warms up.
    if (round > 0) spent.push((user + system) / messages);
  }
  spent.sort((a, b) => a - b);
  const at = (part: number): number =>
    Math.round((spent[Math.floor(part * (rounds - 1))] ?? 0) * 10) / 10;
  console.log(JSON.stringify({ name, medianUs: at(0.5), lowUs: at(0), highUs: at(1) }));
}

async function withStore(run: (store: SpoolStore) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  const environment = LmdbEnvironment.open({ directory, names: ['s'], clock: systemClock });
  try {
    await run(environment.spools(0));
  } finally {
    await environment.close();
    rmSync(directory, { recursive: true });
  }
}

/** In, out and gone: everything that the store and the cipher do for a message. */
async function throughStore(seal: RecordSeal): Promise<void> {
  await withStore(async (store) => {
    const spool = 'telemetry/backend';
    const records = new SpoolRecords(seal, spool);
    store.open(spool);
    const label = `store, ${seal === sealed ? 'sealed' : 'not sealed'}`;
    await measure(label, async () => {
      for (let i = 0; i < messages; i += perTurn) {
        const written: Promise<void>[] = [];
        for (let j = i; j < i + perTurn; j += 1) {
          const message = pick(j);
          const id = store.newId(partitionOf(message.publisher));
          const value = records.seal(id, encodeRecord(message, 1));
          written.push(store.append([{ spool, id, value }], 'flushed'));
        }
        await Promise.all(written);
      }
      for (;;) {
        const range = { from: 0, to: partitions, limit: 100, bytes: 1_000_000, skip: none };
        const entries = await store.read(spool, range);
        if (entries.length === 0) break;
        for (const entry of entries) records.open(entry);
        await store.settle(
          spool,
          entries.map(({ id }) => id),
        );
      }
    });
  });
}

async function throughSpools(batch: number): Promise<void> {
  await withStore(async (store) => {
    let left = 0;
    let done = (): void => {};
    const sender: BackendSender = {
      send: async ({ headers }) => {
        left -= headers['ce-id'] === undefined ? batch : 1;
        // Batches that were not full: the spool itself knows when there is nothing left.
        if (left <= 0) done();
        return { outcome: 'accepted' };
      },
      close: async () => {},
      destroy: async () => {},
    };
    const group = new PeersGroup();
    const peers = new HandPeers(group, 0);
    const spools = new Spools({
      store,
      seal: sealed,
      hasRoom: () => true,
      peers,
      durability: () => 'flushed',
      clock: systemClock,
      logger: silentLogger,
      count: () => {},
      connect: () => sender,
    });
    spools.update([settings(batch)], 'fleet.example');
    peers.see({ id: '1', slots: [0] });
    await new Promise((resolve) => setTimeout(resolve, 150));
    await measure(`spools, batch ${batch}`, async () => {
      left = messages;
      for (let i = 0; i < messages; i += perTurn) {
        const written: Promise<void>[] = [];
        for (let j = i; j < i + perTurn; j += 1) {
          const spooled = spools.spool(pick(j));
          if (spooled !== undefined) written.push(spooled);
        }
        await Promise.all(written);
      }
      while ((await store.usage('telemetry/backend')).messages > 0) {
        await new Promise<void>((resolve) => {
          done = resolve;
          setTimeout(resolve, 5);
        });
      }
    });
    await spools.drain(1_000);
  });
}

await throughStore(open);
await throughStore(sealed);
for (const batch of [1, 100]) await throughSpools(batch);
