/**
 * The MQTT codec: any bytes, in any pieces, in both versions and roles.
 *
 * - nothing is thrown but MqttProtocolError, and after it the decoder is dead and empty;
 * - between pulls a decoder holds less than one packet of the allowed size;
 * - the same bytes in other pieces give the same packets and the same error;
 * - what was decoded can be encoded, and decodes to the same packet again.
 *
 * The first byte of an input says how it is read, the second how it is cut.
 */
import assert from 'node:assert/strict';
import { MqttDecoder } from '../../../src/common/codec/mqtt/decoder.ts';
import type { Role } from '../../../src/common/codec/mqtt/decoder.ts';
import { encode } from '../../../src/common/codec/mqtt/encoder.ts';
import type { Packet, ProtocolVersion } from '../../../src/common/codec/mqtt/packets.ts';
import { MqttProtocolError } from '../../../src/common/codec/mqtt/protocol-error.ts';
import { refusedPackets } from '../../protocol/mqtt-codec/refused-packets.ts';
import { validPackets } from '../../protocol/mqtt-codec/valid-packets.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { Random } from '../../harness/random.ts';

const limits = {
  packetBytes: 600,
  connectBytes: 300,
  userProperties: 4,
  topicBytes: 120,
  topicLevels: 12,
} as const;

/** Undefined: the version is that of the CONNECT that comes first. */
const readings: readonly { readonly role: Role; readonly version: ProtocolVersion | undefined }[] =
  [
    { role: 'server', version: undefined },
    { role: 'server', version: 4 },
    { role: 'server', version: 5 },
    { role: 'client', version: 4 },
    { role: 'client', version: 5 },
  ];

interface Outcome {
  readonly packets: readonly Packet[];
  /** Reason code and statement; empty when nothing was refused. */
  readonly error: string;
  /** What every packet after the first is in. */
  readonly version: ProtocolVersion | undefined;
}

function decode(
  input: Buffer,
  role: Role,
  version: ProtocolVersion | undefined,
  pieceOf: () => number,
): Outcome {
  const decoder = new MqttDecoder(role, limits);
  decoder.version = version;
  const packets: Packet[] = [];
  for (let at = 0; at < input.length;) {
    const piece = Math.min(pieceOf(), input.length - at);
    // A copy that is scribbled over afterwards, as a socket's read buffer may be.
    const chunk = Buffer.from(input.subarray(at, at + piece));
    at += piece;
    decoder.push(chunk);
    try {
      for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
        packets.push(structuredClone(packet));
      }
    } catch (thrown) {
      if (!(thrown instanceof MqttProtocolError)) throw thrown;
      assert.equal(decoder.bufferedBytes, 0);
      assert.equal(decoder.next(), undefined);
      const error = `${thrown.reasonCode} ${thrown.statement} ${thrown.beforeConnect}`;
      return { packets, error, version: decoder.version };
    }
    assert.ok(decoder.bufferedBytes < limits.packetBytes, 'more is held than a packet may have');
    chunk.fill(0xa5);
  }
  return { packets, error: '', version: decoder.version };
}

/** structuredClone makes plain Uint8Arrays of Buffers, which the encoder takes as well as Buffers. */
function checkRoundTrip(packet: Packet, role: Role, version: ProtocolVersion): void {
  const again = decode(
    encode(packet, version),
    role,
    packet.type === 'connect' ? undefined : version,
    () => Number.MAX_SAFE_INTEGER,
  );
  assert.deepEqual(again.packets, [packet]);
}

function check(input: Buffer): void {
  const [reading = 0, cut = 0] = input;
  const { role, version } = readings[reading % readings.length] ?? { role: 'server', version: 5 };
  const bytes = input.subarray(2);
  const whole = decode(bytes, role, version, () => Math.max(1, bytes.length));
  const random = new Random(cut);
  const pieces = cut % 2 === 0 ? () => 1 : () => 1 + random.below(30);
  assert.deepEqual(decode(bytes, role, version, pieces), whole);
  for (const packet of whole.packets) {
    if (whole.version === undefined) throw new TypeError('A packet without a version.');
    checkRoundTrip(packet, role, whole.version);
  }
}

/** Read as its receiver would; both pieces of one byte and larger ones. */
function seed(
  bytes: Buffer,
  receiver: Role,
  version: ProtocolVersion | undefined,
  i: number,
): Buffer {
  const reading = readings.findIndex(
    (known) => known.role === receiver && known.version === version,
  );
  return Buffer.concat([Buffer.of(Math.max(reading, 0), i), bytes]);
}

const [connect] = validPackets.filter(({ packet }) => packet.type === 'connect');

export const mqttDecoder: FuzzTarget = {
  seeds: [
    ...validPackets.flatMap(({ bytes, senders, version, packet }, i) =>
      senders.map((sender) =>
        packet.type === 'connect'
          ? seed(bytes, 'server', undefined, i)
          : seed(bytes, sender === 'client' ? 'server' : 'client', version, i),
      ),
    ),
    ...refusedPackets.map(({ bytes, receiver, version }, i) => seed(bytes, receiver, version, i)),
    ...validPackets
      .filter(({ version, packet }) => version === connect?.version && packet.type !== 'connect')
      .slice(0, 20)
      .map(({ bytes }, i) =>
        seed(Buffer.concat([connect?.bytes ?? Buffer.alloc(0), bytes]), 'server', undefined, i),
      ),
  ],
  words: [Buffer.from('\0\x04MQTT'), Buffer.from('$share/g/a'), Buffer.of(0xff, 0xff, 0xff, 0x7f)],
  maxBytes: 1_300,
  check,
};
