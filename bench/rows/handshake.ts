/** What a device costs that connects: TCP, TLS 1.3 with certificates on both sides, CONNECT, CONNACK, DISCONNECT. */
import { Mosquitto } from '../harness/mosquitto.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import type { Fleet } from '../harness/sallyport.ts';
import { MqttSession } from '../load/mqtt-session.ts';
import { together } from '../load/pace.ts';
import type { TlsTarget } from '../load/tls-client.ts';
import { targetOf } from './fan-in.ts';
import type { Broker } from './fan-in.ts';

const devices = 500;
const perRound = 1_000;
/** So many that the server always has the next one waiting. */
const atOnce = 8;

interface Client {
  readonly id: string;
  readonly target: TlsTarget;
}

async function compare({ rounds }: RowContext, resume: boolean): Promise<number[][]> {
  await using sallyport = await Sallyport.start({ devices });
  await using mosquitto = await Mosquitto.start(sallyport.fleet.rootFile);
  const contenders = [];
  for (const broker of [sallyport, mosquitto]) {
    const clients = await clientsOf(broker, sallyport.fleet, resume);
    contenders.push({ round: () => handshakes(broker, clients, resume) });
  }
  // Awaited here, or the servers would be gone before the first round.
  return await alternate(rounds, contenders);
}

async function clientsOf(broker: Broker, fleet: Fleet, resume: boolean): Promise<Client[]> {
  const clients = fleet.devices.map((device, i) => ({
    id: device.id,
    target: targetOf(broker, device, i),
  }));
  if (!resume) return clients;
  const resuming: Client[] = [];
  await together(clients.length, atOnce, async (i) => {
    const client = clients[i];
    if (client === undefined) return;
    const session = await MqttSession.open(client.target, client.id);
    resuming[i] = { ...client, target: { ...client.target, session: session.ticket } };
    await session.close();
  });
  return resuming;
}

/** @returns µs of CPU per connection. */
async function handshakes(
  broker: Broker,
  clients: readonly Client[],
  resume: boolean,
): Promise<number> {
  const nanoseconds = await cpuWhile(broker.pid, () =>
    together(perRound, atOnce, async (i) => {
      const client = clients[i % clients.length];
      if (client === undefined) return;
      const session = await MqttSession.open(client.target, client.id);
      if (session.resumed !== resume) {
        throw new Error(`${broker.name} ${resume ? 'did not resume' : 'resumed'} a TLS session`);
      }
      await session.close();
    }),
  );
  return nanoseconds / perRound / 1_000;
}

function rowOf(name: string, resume: boolean, subject: string): Row {
  return {
    name,
    async run(context): Promise<Result[]> {
      const [figures = [], peerFigures = []] = await compare(context, resume);
      return [
        {
          row: name,
          subject,
          unit: 'µs CPU per connection',
          figures,
          peer: { name: 'mosquitto', figures: peerFigures },
          pass: 0.8,
          goal: 0.6,
          notes: [
            `${perRound} connections a round of ${devices} devices, ${atOnce} at a time, from TCP connect to closed; TLS_AES_128_GCM_SHA256`,
          ],
        },
      ];
    },
  };
}

export const handshake = rowOf(
  'handshake',
  false,
  'handshake to CONNACK: TLS 1.3, P-256, X25519, chain of two certificates on both sides, no resumption',
);

export const handshakeResumed = rowOf(
  'handshake-resumed',
  true,
  'handshake to CONNACK: TLS 1.3 session resumed by ticket, with X25519',
);
