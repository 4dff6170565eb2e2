/**
 * Cost of encryption at rest: microseconds of CPU to seal and to open one record, by the bytes in it. Prints one JSON
 * line per subject: the median and the spread of the rounds.
 */
import { RecordCipher } from '../src/worker/store/record-cipher.ts';

const rounds = 9;
const perRound = 50_000;
const context = 'm/devices/d1/telemetry';
const cipher = new RecordCipher(Buffer.alloc(32, 7));

function measure(subject: string, once: () => void): void {
  const results: number[] = [];
  for (let round = 0; round < rounds + 2; round += 1) {
    const start = process.cpuUsage();
    for (let i = 0; i < perRound; i += 1) once();
    const used = process.cpuUsage(start);
    // The first rounds warm the compiler up.
    if (round >= 2) results.push((used.user + used.system) / perRound);
  }
  results.sort((a, b) => a - b);
  const figure = (index: number): number => Number((results[index] ?? 0).toFixed(3));
  console.log(
    JSON.stringify({
      subject,
      unit: 'µs',
      median: figure(Math.floor(rounds / 2)),
      min: figure(0),
      max: figure(rounds - 1),
    }),
  );
}

for (const bytes of [100, 1_000, 10_000]) {
  const plain = Buffer.alloc(bytes, '{"temperature":22.5}');
  const record = cipher.seal(context, plain);
  measure(`encryption at rest: seal ${bytes} bytes`, () => void cipher.seal(context, plain));
  measure(`encryption at rest: open ${bytes} bytes`, () => void cipher.open(context, record));
}
