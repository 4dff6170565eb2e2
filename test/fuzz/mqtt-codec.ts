/**
 * Mutates the fixtures of the MQTT codec and checks what must hold for any bytes at all:
 * `node test/fuzz/mqtt-codec.ts [--seconds 10] [--seed N] [--only RUN]`. A failure prints the seed and run that repeat it.
 *
 * - nothing is thrown but MqttProtocolError, and after it the decoder is dead and empty;
 * - between pulls a decoder holds less than one packet of the allowed size;
 * - the same bytes in other pieces give the same packets and the same error;
 * - what was decoded can be encoded, and decodes to the same packet again.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { MqttDecoder, type Role } from '../../src/common/codec/mqtt/decoder.ts';
import { encode } from '../../src/common/codec/mqtt/encoder.ts';
import type { Packet, ProtocolVersion } from '../../src/common/codec/mqtt/packets.ts';
import { MqttProtocolError } from '../../src/common/codec/mqtt/protocol-error.ts';
import { refusedPackets } from '../protocol/mqtt-codec/refused-packets.ts';
import { validPackets } from '../protocol/mqtt-codec/valid-packets.ts';

const limits = {
  packetBytes: 600,
  connectBytes: 300,
  userProperties: 4,
  topicBytes: 120,
  topicLevels: 12,
} as const;

const corpus: readonly Buffer[] = [
  ...validPackets.map((fixture) => fixture.bytes),
  ...refusedPackets.map((fixture) => fixture.bytes),
];
const connects: readonly Buffer[] = validPackets
  .filter(({ packet }) => packet.type === 'connect')
  .map((fixture) => fixture.bytes);
const interesting = [
  0x00, 0x01, 0x7f, 0x80, 0xff, 0x23, 0x24, 0x2b, 0x2f, 0x26, 0xc0, 0xed,
] as const;

/** xorshift32: the same seed gives the same runs everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    // Zero would stay zero; the factor spreads neighbouring seeds.
    this.#state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  }

  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return (state >>> 0) % limit;
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('Nothing to choose from.');
    return item;
  }
}

function mutate(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const copy = Buffer.from(bytes);
  switch (random.below(7)) {
    case 0:
      if (at < copy.length) copy[at] = random.below(256);
      return copy;
    case 1:
      if (at < copy.length) copy[at] = random.of(interesting);
      return copy;
    case 2:
      if (at < copy.length) copy[at] = copy.readUInt8(at) ^ (1 << random.below(8));
      return copy;
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + random.below(4))]);
    case 4: {
      const other = random.of(corpus);
      const from = random.below(other.length);
      return Buffer.concat([copy.subarray(0, at), other.subarray(from), copy.subarray(at)]);
    }
    case 5:
      return Buffer.concat([copy, random.of(corpus)]);
    default:
      return repairLength(copy);
  }
}

/** Makes the remaining length right again, so that a mutation reaches the fields behind it. */
function repairLength(bytes: Buffer): Buffer {
  if (bytes.length < 2 || bytes.length > 129) return bytes;
  bytes[1] = bytes.length - 2;
  return bytes;
}

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

/** One input, derived from `seed` and `run` alone. @throws AssertionError when an invariant does not hold */
function fuzzOnce(seed: number, run: number): void {
  const random = new Random(Math.imul(seed, 0x85eb_ca6b) ^ run);
  const role = random.of<Role>(['server', 'server', 'client']);
  const known = role === 'client' || random.below(2) === 0;
  const version = known ? random.of<ProtocolVersion>([4, 5]) : undefined;
  const first = known ? Buffer.alloc(0) : random.of(connects);
  let input: Buffer = Buffer.concat([first, random.of(corpus)]);
  for (let left = random.below(6); left > 0; left -= 1) input = mutate(input, random);

  const whole = decode(input, role, version, () => Math.max(1, input.length));
  const singly = decode(input, role, version, () => 1);
  const pieces = decode(input, role, version, () => 1 + random.below(30));
  assert.deepEqual(singly, whole);
  assert.deepEqual(pieces, whole);
  for (const packet of whole.packets) {
    if (whole.version === undefined) throw new TypeError('A packet without a version.');
    checkRoundTrip(packet, role, whole.version);
  }
}

/** Runs `fuzzOnce` for each run from `from` until `until` says so; returns how many there were. */
export function fuzz(seed: number, until: (runs: number) => boolean, from = 0): number {
  let runs = 0;
  for (; !until(runs); runs += 1) {
    try {
      fuzzOnce(seed, from + runs);
    } catch (cause) {
      const again = `node test/fuzz/mqtt-codec.ts --seed ${seed} --only ${from + runs}`;
      throw new Error(`Fails again with: ${again}`, { cause });
    }
  }
  return runs;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '10' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      only: { type: 'string' },
    },
  });
  const seed = Number(values.seed);
  const end = performance.now() + Number(values.seconds) * 1000;
  const runs =
    values.only === undefined
      ? fuzz(seed, () => performance.now() >= end)
      : fuzz(seed, (done) => done === 1, Number(values.only));
  console.log(`mqtt-codec: seed ${seed}, ${runs} inputs, every invariant held`);
}
