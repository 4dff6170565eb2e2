/** What an idle session keeps in memory, before and after one large message has passed through it in each direction. */
import { within } from '../../test/harness/waiting.ts';
import { Mosquitto } from '../harness/mosquitto.ts';
import { residentBytes, treeOf } from '../harness/process-tree.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { deviceId, Sallyport } from '../harness/sallyport.ts';
import type { Fleet } from '../harness/sallyport.ts';
import { publishBytes } from '../load/mqtt-session.ts';
import type { MqttSession } from '../load/mqtt-session.ts';
import { paced, together } from '../load/pace.ts';
import { openSession } from './fan-in.ts';
import type { Broker } from './fan-in.ts';

const devices = 2_000;
const connectsAtOnce = 16;
const largeBytes = 60_000;
const largeAtOnce = 8;
const arrivalMs = 30_000;
/** So that what a server frees in the next moments is freed: kept sockets, a collection of garbage under way. */
const settle = { count: 20, perSecond: 10 };

interface Footprint {
  readonly idle: number;
  readonly afterLarge: number;
}

/** A broker that has served nobody yet. @returns bytes per session. */
async function footprint(broker: Broker, fleet: Fleet): Promise<Footprint> {
  const resident = async (): Promise<number> => {
    await paced(settle.count, settle.perSecond, () => {});
    return residentBytes(treeOf(broker.pid));
  };
  const service = await openSession(broker, fleet.service, devices);
  await service.subscribe('devices/+/diagnostics');
  const before = await resident();
  const sessions: MqttSession[] = [];
  await together(devices, connectsAtOnce, async (i) => {
    const device = fleet.devices[i];
    if (device === undefined) throw new Error(`no device ${i}`);
    const session = await openSession(broker, device, i);
    await session.subscribe(`devices/${device.id}/commands/#`);
    sessions[i] = session;
  });
  const idle = await resident();
  await largeMessages(service, sessions);
  const afterLarge = await resident();
  for (const session of [service, ...sessions]) session.destroy();
  return { idle: (idle - before) / devices, afterLarge: (afterLarge - before) / devices };
}

async function largeMessages(
  service: MqttSession,
  sessions: readonly MqttSession[],
): Promise<void> {
  const payload = Buffer.alloc(largeBytes, '{"large":"message"}');
  await together(sessions.length, largeAtOnce, async (i) => {
    const session = sessions[i];
    if (session === undefined) return;
    const id = deviceId(i);
    const up = arrival(service, `devices/${id}/diagnostics`);
    session.send(publishBytes(`devices/${id}/diagnostics`, payload));
    await up;
    const topic = `devices/${id}/commands/blob`;
    const down = arrival(session, topic);
    service.send(publishBytes(topic, payload));
    await down;
  });
}

const waiting = new WeakMap<MqttSession, Map<string, () => void>>();

/** Resolves when a message on the topic has arrived. */
async function arrival(session: MqttSession, topic: string): Promise<void> {
  let topics = waiting.get(session);
  if (topics === undefined) {
    const awaited = new Map<string, () => void>();
    session.onMessage = (bytes, body) => {
      const topicAt = body + 2;
      const end = topicAt + bytes.readUInt16BE(body);
      awaited.get(bytes.toString('utf8', topicAt, end))?.();
    };
    waiting.set(session, awaited);
    topics = awaited;
  }
  const arrived = new Promise<void>((resolve) => topics.set(topic, resolve));
  try {
    await within(arrived, arrivalMs, topic);
  } finally {
    topics.delete(topic);
  }
}

/** Memory is given back late or never, so every round has servers of its own. */
async function ofSallyport(): Promise<Footprint> {
  await using sallyport = await Sallyport.start({ devices });
  return await footprint(sallyport, sallyport.fleet);
}

async function ofMosquitto(fleet: Fleet): Promise<Footprint> {
  await using mosquitto = await Mosquitto.start(fleet.rootFile);
  return await footprint(mosquitto, fleet);
}

export const memory: Row = {
  name: 'memory',
  async run({ rounds, say }: RowContext): Promise<Result[]> {
    // Gives the devices' certificates; a new Sallyport has others, so mosquitto's devices are this one's.
    await using enroller = await Sallyport.start({ devices });
    const ours: Footprint[] = [];
    const theirs: Footprint[] = [];
    const keep = async (kept: Footprint[], found: Promise<Footprint>): Promise<number> => {
      const each = await found;
      kept.push(each);
      say(
        `${Math.round(each.idle / 1_000)} kB idle, ${Math.round(each.afterLarge / 1_000)} kB after`,
      );
      return each.idle;
    };
    await alternate(rounds, [
      { round: () => keep(ours, ofSallyport()) },
      { round: () => keep(theirs, ofMosquitto(enroller.fleet)) },
    ]);
    const result = (subject: string, pick: (each: Footprint) => number): Result => ({
      row: this.name,
      subject,
      unit: 'kB RSS per session',
      figures: ours.slice(-rounds).map((each) => pick(each) / 1_000),
      peer: { name: 'mosquitto', figures: theirs.slice(-rounds).map((each) => pick(each) / 1_000) },
      pass: 2.5,
      goal: 1,
      notes: [
        `growth of all processes over ${devices} sessions with one subscription each, fresh servers every round`,
      ],
    });
    return [
      result('memory per idle mTLS MQTT session', ({ idle }) => idle),
      result(
        `the same, after a message of ${largeBytes / 1_000} kB each way`,
        ({ afterLarge }) => afterLarge,
      ),
    ];
  },
};
