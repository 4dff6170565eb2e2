/**
 * Cost of the codec on the hot path: `node bench/mqtt-codec.ts [--rounds N]` prints nanoseconds per PUBLISH, median of
 * the rounds and their spread. Wall time of one thread; compare lines of one run only.
 */
import { parseArgs } from 'node:util';
import { MqttDecoder, type DecoderLimits } from '../src/common/codec/mqtt/decoder.ts';
import { encode, encodePublish, withPacketId } from '../src/common/codec/mqtt/encoder.ts';
import {
  noProperties,
  type ProtocolVersion,
  type Publish,
  type QoS,
} from '../src/common/codec/mqtt/packets.ts';

const limits: DecoderLimits = {
  packetBytes: 262_144,
  connectBytes: 8192,
  userProperties: 32,
  topicBytes: 1024,
  topicLevels: 16,
};
const chunkBytes = 16_384;
const minimumPackets = 200_000;

function publishOf(device: number, qos: QoS, payloadBytes = 20): Publish {
  return {
    type: 'publish',
    dup: false,
    qos,
    retain: false,
    topic: `devices/d${device}/telemetry`,
    packetId: qos === 0 ? 0 : 1 + (device % 65_535),
    payload: Buffer.alloc(payloadBytes, '{"temperature":22.5}'),
    properties: noProperties,
  };
}

interface Subject {
  readonly name: string;
  /** Does it once and returns how many packets that were. */
  readonly run: () => number;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function measure(run: () => number): number {
  let packets = 0;
  const start = process.hrtime.bigint();
  while (packets < minimumPackets) packets += run();
  return Number(process.hrtime.bigint() - start) / packets;
}

/** Packets of a chunk's size, all by one connection. */
function stream(version: ProtocolVersion, qos: QoS, topics: number, payloadBytes?: number): Buffer {
  const parts: Buffer[] = [];
  for (let bytes = 0, index = 0; bytes < chunkBytes; index += 1) {
    const part = encode(publishOf(index % topics, qos, payloadBytes), version);
    bytes += part.length;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function decoderOf(version: ProtocolVersion): MqttDecoder {
  const decoder = new MqttDecoder('client', limits);
  decoder.version = version;
  return decoder;
}

function drain(decoder: MqttDecoder): number {
  let packets = 0;
  while (decoder.next() !== undefined) packets += 1;
  return packets;
}

function decoding(
  name: string,
  version: ProtocolVersion,
  qos: QoS,
  topics: number,
  payloadBytes?: number,
): Subject {
  const bytes = stream(version, qos, topics, payloadBytes);
  const decoder = decoderOf(version);
  return {
    name: `decode ${name}`,
    run() {
      decoder.push(bytes);
      return drain(decoder);
    },
  };
}

function split(name: string, step: number): Subject {
  const bytes = stream(5, 1, 1);
  const decoder = decoderOf(5);
  return {
    name: `decode ${name}`,
    run() {
      let packets = 0;
      for (let at = 0; at < bytes.length; at += step) {
        decoder.push(bytes.subarray(at, at + step));
        packets += drain(decoder);
      }
      return packets;
    },
  };
}

function encoding(name: string, work: () => void): Subject {
  return {
    name: `encode ${name}`,
    run() {
      for (let index = 0; index < 1000; index += 1) work();
      return 1000;
    },
  };
}

const qos0 = publishOf(1, 0);
const qos1 = publishOf(1, 1);
const large = publishOf(1, 1, 4096);
const shared = encodePublish(qos1, 5);
const properties = { messageExpiryInterval: 60, contentType: 'application/json' };
const subjects: readonly Subject[] = [
  decoding('5.0 QoS 0, one topic', 5, 0, 1),
  decoding('5.0 QoS 1, one topic', 5, 1, 1),
  decoding('3.1.1 QoS 1, one topic', 4, 1, 1),
  decoding('5.0 QoS 1, a topic each', 5, 1, 64),
  decoding('5.0 QoS 1, 4 kB payload', 5, 1, 1, 4096),
  split('5.0 QoS 1, chunks of 1,000 bytes', 1000),
  split('5.0 QoS 1, byte by byte', 1),
  encoding('5.0 QoS 0', () => encode(qos0, 5)),
  encoding('5.0 QoS 1', () => encode(qos1, 5)),
  encoding('5.0 QoS 1, two properties', () => encodePublish({ ...qos1, properties }, 5)),
  encoding('5.0 QoS 1, 4 kB payload', () => encode(large, 5)),
  encoding('withPacketId', () => withPacketId(shared, 7)),
  encoding('PUBACK', () =>
    encode({ type: 'puback', packetId: 7, reasonCode: 0, properties: noProperties }, 5),
  ),
];

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '7' } } });
const rounds = Number(values.rounds);
for (const subject of subjects) {
  measure(subject.run);
  const times = Array.from({ length: rounds }, () => measure(subject.run));
  const spread = `${Math.min(...times).toFixed(0)}–${Math.max(...times).toFixed(0)}`;
  console.log(`${subject.name.padEnd(42)} ${median(times).toFixed(0).padStart(6)} ns  (${spread})`);
}
