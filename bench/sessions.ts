/**
 * Cost of durable sessions. Prints one JSON line per subject: microseconds of CPU per unit, of the thread that serves
 * connections (`main`) and over all threads of the process, the median and the spread of the rounds. Compare lines of
 * one run only.
 *
 * `queue and drain`: a message is put into a queue, read and removed. `queue 1`, `queue 1,000`: it is put into so many
 * queues, per queue. `connect`: a session is taken up and left, `transient` is one of which nothing is stored,
 * `subscribe` what a device wants again that it had.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/common/base/clock.ts';
import { silentLogger } from '../src/common/base/logger.ts';
import { principalName } from '../src/common/base/principal.ts';
import { noProperties } from '../src/common/codec/mqtt/packets.ts';
import type { Message } from '../src/worker/broker/message.ts';
import type { OwnedSession, QueueTarget, SessionStore } from '../src/worker/broker/sessions.ts';
import type { RecordSeal } from '../src/worker/routes/ports.ts';
import { systemTimers } from '../src/worker/routes/timers.ts';
import { LmdbEnvironment } from '../src/worker/store/lmdb-environment.ts';
import { openSessions } from '../src/worker/store/open-sessions.ts';
import { RecordCipher } from '../src/worker/store/record-cipher.ts';

const rounds = 5;
/** In one turn of the event loop: a busy worker. */
const perTurn = 50;
const sessions = 1_000;
const payload = Buffer.alloc(200, 'x');

const seals: Readonly<Record<string, RecordSeal>> = {
  sealed: new RecordCipher(randomBytes(32)),
  'not sealed': { seal: (_context, plain) => plain, open: (_context, record) => record },
};

const message: Message = {
  topic: 'fleet/announcements',
  payload,
  qos: 1,
  retain: false,
  properties: noProperties,
  publisher: principalName('service', 'backend'),
  publisherSession: 'service/backend c',
  expiresAt: undefined,
  delivery: undefined,
};

async function measure(name: string, units: number, run: () => Promise<void>): Promise<void> {
  const main: number[] = [];
  const all: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const mainBefore = process.threadCpuUsage();
    const allBefore = process.cpuUsage();
    await run();
    const ofMain = process.threadCpuUsage(mainBefore);
    const ofAll = process.cpuUsage(allBefore);
    // The first round warms up.
    if (round === 0) continue;
    main.push((ofMain.user + ofMain.system) / units);
    all.push((ofAll.user + ofAll.system) / units);
  }
  console.log(JSON.stringify({ name, main: spread(main), all: spread(all) }));
}

function spread(values: readonly number[]): object {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number): number =>
    Math.round((sorted[Math.floor(part * (sorted.length - 1))] ?? 0) * 100) / 100;
  return { medianUs: at(0.5), lowUs: at(0), highUs: at(1) };
}

const principalOf = (i: number) => principalName('device', `sensor-${i}`);
let epoch = 0;

function open(store: SessionStore, i: number, expirySeconds = 3_600): Promise<OwnedSession> {
  epoch += 1;
  const wanted = { principal: principalOf(i), clientId: 'c', epoch, cleanStart: false };
  return store.open({ ...wanted, expirySeconds, will: undefined });
}

function targetOf({ id }: OwnedSession, i: number): QueueTarget {
  const principal = principalOf(i);
  return { session: id, key: `${principal} c`, principal, qos: 1, retain: false, identifiers: [] };
}

async function empty(session: OwnedSession): Promise<number> {
  let removed = 0;
  for (;;) {
    const queued = await session.queued(new Set(), 64);
    if (queued.length === 0) return removed;
    await Promise.all(queued.map(({ id }) => session.remove(id)));
    removed += queued.length;
  }
}

/** And waits for the disk, whose work would be counted as that of whatever comes next. */
async function emptyAll(store: SessionStore, all: readonly OwnedSession[]): Promise<void> {
  await Promise.all(all.map(empty));
  for (const [i, session] of all.slice(0, 3).entries()) {
    const id = store.newId();
    await store.enqueue(id, message, [targetOf(session, i)], undefined);
    await session.remove(id);
  }
}

async function queueing(store: SessionStore, all: readonly OwnedSession[], name: string) {
  const targets = all.map(targetOf);
  const singles = 5_000;
  const into = (wanted: readonly QueueTarget[]): Promise<void> =>
    store.enqueue(store.newId(), message, wanted, undefined);
  const [one] = all;
  if (one === undefined) return;
  await measure(`queue and drain, ${name}`, 2_000, async () => {
    for (let i = 0; i < 2_000; i += perTurn) {
      await Promise.all(Array.from({ length: perTurn }, () => into(targets.slice(0, 1))));
    }
    await empty(one);
  });
  await measure(`queue 1, ${name}`, singles, async () => {
    for (let i = 0; i < singles; i += perTurn) {
      await Promise.all(
        Array.from({ length: perTurn }, (_, j) =>
          into(targets.slice((i + j) % 500, ((i + j) % 500) + 1)),
        ),
      );
    }
  });
  await emptyAll(store, all);
  const announcements = 20;
  await measure(`queue 1,000, ${name}`, announcements * sessions, async () => {
    for (let i = 0; i < announcements; i += 1) await into(targets);
  });
  await emptyAll(store, all);
}

async function connecting(store: SessionStore): Promise<void> {
  const left = { inFlight: [], expirySeconds: 3_600, will: undefined };
  const wanted = { qos: 1, noLocal: false, retainAsPublished: false, identifiers: [] } as const;
  const subscriptions = new Map([['devices/sensor/commands/#', wanted]]);
  const connect = async (step: (i: number) => Promise<unknown>): Promise<void> => {
    for (let i = 0; i < sessions; i += perTurn) {
      await Promise.all(Array.from({ length: perTurn }, (_, j) => step(i + j)));
    }
  };
  const opened = new Map<number, OwnedSession>();
  await measure('connect', sessions, () =>
    connect(async (i) => {
      const session = await open(store, i);
      opened.set(i, session);
      await session.leave(left);
    }),
  );
  await connect(async (i) => {
    const session = await open(store, i);
    opened.set(i, session);
    await session.subscribe(subscriptions);
  });
  await measure('subscribe', sessions, () =>
    connect(async (i) => opened.get(i)?.subscribe(subscriptions)),
  );
  await measure('transient', sessions, () => connect((i) => open(store, 100_000 + i, 0)));
}

for (const [name, seal] of Object.entries(seals)) {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  const environment = LmdbEnvironment.open({ directory, names: [], clock: systemClock });
  const { store, reaper } = openSessions(
    {
      workers: { slots: () => [0, 1], isPresent: () => true, isHome: () => true },
      isRevoked: () => false,
      timers: systemTimers,
      onSessionChanged: async () => {},
      publishWill: async () => {},
      count: () => {},
    },
    {
      tables: environment.sessions(0),
      ids: environment.spools(0).ids,
      cipher: seal,
      limits: () => ({
        sessionsPerIdentity: 4,
        queuedMessages: 1_000_000,
        queuedBytes: 1_000_000_000,
        whenQueueFull: 'drop-newest',
      }),
      clock: systemClock,
      logger: silentLogger,
    },
  );
  // First: after so much has been removed LMDB is busy with its free pages for some time.
  if (name === 'sealed') await connecting(store);
  const all: OwnedSession[] = [];
  for (let i = 0; i < sessions; i += 1) all.push(await open(store, i));
  await queueing(store, all, name);
  await reaper.close();
  await environment.close();
  rmSync(directory, { recursive: true });
}
