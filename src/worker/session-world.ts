/** Workers in one process, over one store and without a network, for tests of sessions. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { silentLogger } from '../common/base/logger.ts';
import { principalName } from '../common/base/principal.ts';
import { MqttDecoder } from '../common/codec/mqtt/decoder.ts';
import { encode } from '../common/codec/mqtt/encoder.ts';
import { noProperties } from '../common/codec/mqtt/packets.ts';
import type {
  Connect,
  Packet,
  ProtocolVersion,
  Publish,
  PublishResponse,
  QoS,
} from '../common/codec/mqtt/packets.ts';
import { Broker } from './broker/broker.ts';
import { DurableIndex } from './broker/durable-index.ts';
import { aloneCrossing } from './broker/fake-crossing.ts';
import type { Message } from './broker/message.ts';
import { sessionKey } from './broker/session-key.ts';
import type { SessionStore } from './broker/sessions.ts';
import { compilePolicy } from './policy/compile.ts';
import { documentOf, HandClock, subjectOf } from './policy/test-support.ts';
import { Intake } from './routes/intake.ts';
import { MemorySessionStore } from './store/memory-session-store.ts';
import type { SharedSessions } from './store/memory-session-store.ts';
import type { Identified } from './listeners/identified.ts';
import { FakeMailbox } from './listeners/mqtt/fake-mailbox.ts';
import { FakeTransport } from './listeners/mqtt/fake-transport.ts';
import { MqttListener } from './listeners/mqtt/listener.ts';

export const document = documentOf(
  'routes: { telemetry: { rate: [] } }\nlimits: { receiveMaximum: 4, outboundMessages: 8 }',
);

/** Two workers, ended after the test; nothing that happens in it may be a defect. */
export function worldOf(t: TestContext): { world: World; worker: Worker; other: Worker } {
  const world = new World();
  const [worker, other] = [world.worker(), world.worker()];
  t.after(async () => {
    for (const each of world.workers) await each.listener.drain(0, 1_000);
    assert.deepEqual(world.logged, []);
  });
  return { world, worker, other };
}

/** What lies in the queues of all sessions. */
export function queued({ shared }: World): string[] {
  return [...shared.values()].flatMap(({ queue }) =>
    [...queue.values()].map(({ message }) => message.payload.toString()),
  );
}

/** What the workers of one test share: the clock, the store, who owns which session, and the policy. */
export class World {
  readonly clock = new HandClock();
  readonly shared: SharedSessions = new Map();
  readonly workers: Worker[] = [];
  readonly owners = new Map<string, () => Promise<void> | undefined>();
  readonly counted: string[] = [];
  readonly logged: string[] = [];
  policy = compilePolicy(document, 1);
  limits = document.limits;
  epoch = 0;

  worker(): Worker {
    const worker = new Worker(this);
    this.workers.push(worker);
    return worker;
  }

  async changed(key: string): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.index.reload(key)));
  }
}

export class Worker {
  readonly world: World;
  readonly broker: Broker;
  readonly store: MemorySessionStore;
  readonly index: DurableIndex;
  readonly intake: Intake;
  readonly listener: MqttListener;
  /** Retained messages, whatever the filter. */
  retained: readonly Message[] = [];
  readonly mailbox = new FakeMailbox();
  /** Set to hold back what a session has the store do: the next answer is given when it resolves. */
  held: Promise<void> | undefined;
  /** The same for what a session reads of its queue. */
  heldReads: Promise<void> | undefined;
  /** Set to hold back the answer to a SUBSCRIBE. */
  heldInterest: Promise<void> | undefined;
  /** The first holds back the next message to be retained, and so on. */
  readonly heldPuts: Promise<void>[] = [];

  constructor(world: World) {
    const { clock, shared } = world;
    this.world = world;
    this.broker = new Broker({ crossing: aloneCrossing(), clock });
    this.store = new MemorySessionStore({
      clock,
      shared,
      limits: () => world.limits,
      onSessionChanged: (key) => world.changed(key),
    });
    this.index = new DurableIndex({ sessions: this.store, groups: this.broker.groups });
    const { mailbox } = this;
    const kept = (): readonly Message[] => this.retained;
    const retained = {
      put: () => this.heldPuts.shift() ?? Promise.resolve(),
      async *match() {
        yield* kept();
      },
      count: () => Promise.resolve(0),
    };
    this.intake = new Intake({
      broker: this.broker,
      retained,
      mailbox,
      spooling: { spool: () => undefined },
      sessions: this.store,
      index: this.index,
      isRegistered: () => false,
      hasRoom: () => true,
    });
    this.listener = new MqttListener({
      clock,
      logger: {
        ...silentLogger,
        error: (fields, message) => {
          world.logged.push(`${message} ${String(Reflect.get(fields, 'err'))}`);
        },
      },
      broker: this.broker,
      retained,
      mailbox,
      sessions: this.#heldBack(),
      intake: this.intake,
      policy: () => world.policy,
      limits: () => world.limits,
      fresh: () => true,
      identify: (transport) => Promise.resolve(identityOf(transport)),
      identifyNow: identityOf,
      claim: async (principal, clientId, onTakenOver) => {
        const key = sessionKey(principal, clientId);
        await world.owners.get(key)?.();
        world.owners.set(key, onTakenOver);
        world.epoch += 1;
        const release = (): void => {
          if (world.owners.get(key) === onTakenOver) world.owners.delete(key);
        };
        return { key, epoch: world.epoch, rates: { take: () => true }, release };
      },
      signatures: { signedPublish: () => undefined },
      interestSettled: () => this.heldInterest ?? Promise.resolve(),
      count: (name) => void world.counted.push(name),
    });
  }

  /**
   * A client that has sent CONNECT as this identity; its CONNACK is the first of its packets.
   *
   * @param finishes it sends nothing more after that.
   */
  async connect(name: string, options: Partial<Connect> = {}, finishes = false): Promise<Client> {
    const client = new Client(this, name, options.version ?? 5);
    client.send({
      type: 'connect',
      version: client.version,
      cleanStart: false,
      keepAlive: 60,
      clientId: 'c',
      will: undefined,
      userName: undefined,
      password: undefined,
      properties: noProperties,
      ...options,
    });
    if (finishes) client.finish();
    await settled();
    return client;
  }

  #heldBack(): SessionStore {
    const { store } = this;
    return {
      find: (key) => store.find(key),
      all: () => store.all(),
      newId: () => store.newId(),
      enqueue: (...all) => store.enqueue(...all),
      discard: (principal) => store.discard(principal),
      open: async (wanted) => {
        const owned = await store.open(wanted);
        const held = async <T>(done: Promise<T>): Promise<T> => {
          const { held: hold } = this;
          const result = await done;
          await hold;
          return result;
        };
        return {
          ...owned,
          queued: async (skip, limit) => {
            const { heldReads } = this;
            const found = await owned.queued(skip, limit);
            await heldReads;
            return found;
          },
          remove: (id) => held(owned.remove(id)),
          saveInFlight: (inFlight) => held(owned.saveInFlight(inFlight)),
          forgetReceived: (packetIds) => held(owned.forgetReceived(packetIds)),
          leave: (state) => held(owned.leave(state)),
        };
      },
    };
  }
}

/** Devices are named d…, everyone else is a backend. */
class NamedTransport extends FakeTransport {
  readonly identified: Extract<Identified, { ok: true }>;

  constructor(name: string) {
    super();
    const isDevice = name.startsWith('d');
    const subject = isDevice
      ? subjectOf('device', name, 'device')
      : subjectOf('service', name, 'backend');
    this.identified = {
      ok: true,
      name: principalName(isDevice ? 'device' : 'service', name),
      identity: subject.identity,
      certificate: 'internal:1',
      certificateRevoked: false,
      notAfterMs: Number.MAX_SAFE_INTEGER,
      subject: `CN=${name}`,
    };
  }
}

function identityOf(transport: object): Identified {
  assert.ok(transport instanceof NamedTransport);
  return transport.identified;
}

export class Client {
  readonly transport: NamedTransport;
  readonly version: ProtocolVersion;
  readonly #decoder: MqttDecoder;

  constructor(worker: Worker, name: string, version: ProtocolVersion) {
    this.version = version;
    this.transport = new NamedTransport(name);
    this.#decoder = new MqttDecoder('client', document.limits);
    this.#decoder.version = version;
    worker.listener.accept(this.transport);
  }

  get identity() {
    return this.transport.identified.identity;
  }

  send(...packets: readonly Packet[]): void {
    this.transport.onData(Buffer.concat(packets.map((packet) => encode(packet, this.version))));
  }

  /** It sends no more, and has not seen the end of the gateway's side yet. */
  finish(): void {
    this.transport.onEnd();
  }

  /** The network is gone. */
  vanish(): void {
    this.transport.onClose();
  }

  /** What has been written since the last call, once everything that was under way is done. */
  async packets(): Promise<Packet[]> {
    await settled();
    this.#decoder.push(Buffer.concat(this.transport.written.splice(0)));
    const found: Packet[] = [];
    for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
      found.push(packet);
    }
    return found;
  }

  /** The same in words, such as `publish 1 x`, `publish 1 x dup`, `pubrec 1`, `pubrec 1 0x87`. */
  async heard(): Promise<string[]> {
    return (await this.packets()).map(inWords);
  }
}

function inWords(packet: Packet): string {
  switch (packet.type) {
    case 'publish': {
      const { packetId, payload, dup, qos } = packet;
      return `publish ${qos === 0 ? '' : `${packetId} `}${payload.toString()}${dup ? ' dup' : ''}`;
    }
    case 'connack':
      return `connack${codeOf(packet.reasonCode)}${packet.sessionPresent ? ' present' : ''}`;
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return `${packet.type} ${packet.packetId}${codeOf(packet.reasonCode)}`;
    case 'disconnect':
      return `disconnect${codeOf(packet.reasonCode)}`;
    default:
      return packet.type;
  }
}

function codeOf(reasonCode: number): string {
  return reasonCode === 0 ? '' : ` 0x${reasonCode.toString(16)}`;
}

export function publishOf(
  topic: string,
  payload: string,
  qos: QoS,
  packetId = 0,
  more: Partial<Publish> = {},
): Publish {
  return {
    type: 'publish',
    topic,
    packetId,
    qos,
    dup: false,
    retain: false,
    payload: Buffer.from(payload),
    properties: noProperties,
    ...more,
  };
}

/** @param retainHandling MQTT 5 §3.8.3.1: 2 = nothing that is retained. */
export function subscribeTo(topicFilter: string, qos: QoS, retainHandling: 0 | 2 = 2): Packet {
  return {
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling }],
    properties: noProperties,
  };
}

/** What somebody has published. */
export function messageOf(topic: string, payload: string, qos: QoS, retain = false): Message {
  return {
    topic,
    payload: Buffer.from(payload),
    qos,
    retain,
    properties: noProperties,
    publisher: principalName('service', 'somebody'),
    publisherSession: 'elsewhere',
    expiresAt: undefined,
    delivery: undefined,
  };
}

export function responseOf(
  type: PublishResponse['type'],
  packetId: number,
  reasonCode = 0,
): PublishResponse {
  return { type, packetId, reasonCode, properties: noProperties };
}

/** Every promise and every write that is under way is done. */
async function settled(): Promise<void> {
  for (let n = 0; n < 12; n += 1) await new Promise((resolve) => setImmediate(resolve));
}
