/** MQTT over mutual TLS against mosquitto: messages of many devices to one subscriber. */
import { AedesBroker } from '../harness/aedes.ts';
import { Mosquitto } from '../harness/mosquitto.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import { telemetryPayload } from '../load/telemetry.ts';
import { FanIn } from './fan-in.ts';
import type { Broker } from './fan-in.ts';

type Measure = (fanIn: FanIn) => Promise<number>;
type Figures = Pick<Result, 'figures' | 'peer'>;

/** @param clientRoot file with the root of the devices' certificates. */
type StartPeer = (clientRoot: string) => Promise<Broker & AsyncDisposable>;

const mosquitto: StartPeer = (clientRoot) => Mosquitto.start(clientRoot);
const aedes: StartPeer = (clientRoot) => AedesBroker.start(clientRoot);

/** The same devices on both brokers, in the peer's version of MQTT; the measures one after the other. */
async function compare(
  { rounds }: RowContext,
  startPeer: StartPeer,
  devices: number,
  measures: readonly Measure[],
): Promise<Figures[]> {
  await using sallyport = await Sallyport.start({ devices });
  await using peer = await startPeer(sallyport.fleet.rootFile);
  const { name, pid, mqttsPort } = sallyport;
  const same = { name, pid, mqttsPort, version: peer.version ?? 5 };
  const ours = await FanIn.open(same, sallyport.fleet, devices);
  const theirs = await FanIn.open(peer, sallyport.fleet, devices);
  const found: Figures[] = [];
  for (const measure of measures) {
    const [figures = [], peerFigures = []] = await alternate(rounds, [
      { round: () => measure(ours) },
      { round: () => measure(theirs) },
    ]);
    found.push({ figures, peer: { name: peer.name, figures: peerFigures } });
  }
  return found;
}

const unit = 'µs CPU per message';
const payload = `${telemetryPayload.length} bytes of JSON, one subscriber`;

/** The same load twice: as much as goes, and at a rate that leaves the servers idle most of the time. */
const sparse = { devices: 1_000, saturated: 100_000, paced: 20_000, perSecond: 10_000 };

export const mqttSparse: Row = {
  name: 'mqtt-sparse',
  async run(context): Promise<Result[]> {
    const { devices, saturated, paced, perSecond } = sparse;
    const [full, idle] = await compare(context, mosquitto, devices, [
      (fanIn) => fanIn.saturated(saturated, 1, devices),
      (fanIn) => fanIn.atRate(paced, perSecond),
    ]);
    const common = { row: this.name, unit, pass: 1.2, goal: 0.8 };
    const subject = 'MQTT 5 mTLS sparse fan-in: 1,000 devices, one message per TLS record, QoS 0';
    return [
      {
        ...common,
        subject: `${subject}; saturated`,
        figures: [],
        ...full,
        notes: [`${saturated} messages a round, one of each device on its way, ${payload}`],
      },
      {
        ...common,
        subject: `${subject}; at ${perSecond} a second`,
        figures: [],
        ...idle,
        notes: [
          `${paced} messages a round, evenly spaced, ${payload}; a server that is idle in between wakes up for every single one, which costs more than the message`,
        ],
      },
    ];
  },
};

const pipelined = { devices: 50, count: 400_000, perRecord: 100, outstanding: 20_000 };

export const mqttPipelined: Row = {
  name: 'mqtt-pipelined',
  async run(context): Promise<Result[]> {
    const { devices, count, perRecord, outstanding } = pipelined;
    const [found] = await compare(context, mosquitto, devices, [
      (fanIn) => fanIn.saturated(count, perRecord, outstanding),
    ]);
    return [
      {
        row: this.name,
        subject: `MQTT 5 mTLS pipelined: ${perRecord} messages per TLS record, QoS 0`,
        unit,
        figures: [],
        ...found,
        pass: 0.3,
        goal: 0.1,
        notes: [
          `${count} messages a round from ${devices} devices, at most ${outstanding} on their way, ${payload}`,
        ],
      },
    ];
  },
};

/** The other broker in Node, on the work of the two rows above; it is no bound. */
export const mqttAedes: Row = {
  name: 'mqtt-aedes',
  async run(context): Promise<Result[]> {
    const results: Result[] = [];
    const work: readonly [string, number, Measure][] = [
      [
        'sparse fan-in, saturated',
        sparse.devices,
        (fanIn) => fanIn.saturated(sparse.saturated, 1, sparse.devices),
      ],
      [
        `pipelined, ${pipelined.perRecord} messages per TLS record`,
        pipelined.devices,
        (fanIn) => fanIn.saturated(pipelined.count, pipelined.perRecord, pipelined.outstanding),
      ],
    ];
    for (const [what, devices, measure] of work) {
      const [found] = await compare(context, aedes, devices, [measure]);
      results.push({
        row: this.name,
        subject: `MQTT 3.1.1 mTLS ${what}, QoS 0`,
        unit,
        figures: [],
        ...found,
        notes: ['Aedes does not speak MQTT 5, so neither does anybody in this row'],
      });
    }
    return results;
  },
};
