import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { keepCrash, keptCrashes } from './crashes.ts';
import { fuzz } from './fuzz.ts';
import type { FuzzReport } from './fuzz.ts';
import { targets } from './targets.ts';

/** A few seconds in all; `npm run fuzz` goes on for as long as one likes. */
const smokeRuns = 2_500;

for (const [name, load] of Object.entries(targets)) {
  test(`${name}: what must hold for any bytes holds`, async () => {
    const report = await fuzz(load, { seed: 1, until: (runs) => runs >= smokeRuns });
    assert.equal(report.crash?.error, undefined, `input ${report.crash?.input.toString('hex')}`);
    assert.ok(report.corpus > 1 && report.covered > 1_000, JSON.stringify(report));
  });
}

test('inputs that broke something once break nothing now', async () => {
  for (const { target, file, input } of keptCrashes()) {
    const load = targets[target];
    assert.ok(load !== undefined, `${target}/${file} belongs to no target`);
    const { check } = await load();
    assert.doesNotThrow(() => check(input), `${target}/${file}`);
  }
});

function planted(seed: number, guided: boolean): Promise<FuzzReport> {
  return fuzz(async () => (await import('./planted/defect.ts')).plantedDefect, {
    seed,
    until: (runs) => runs >= 30_000,
    folders: [join(import.meta.dirname, 'planted')],
    guided,
  });
}

test('a defect behind six bytes is found by looking at what runs, and not without', async () => {
  const found = await planted(1, true);
  assert.ok(found.crash?.error instanceof Error && found.crash.error.message === 'planted');
  assert.equal(found.crash.input.toString(), 'SALLY!', 'without the bytes that do not matter');
  const again = await planted(1, true);
  assert.deepEqual([again.runs, again.crash?.input], [found.runs, found.crash.input]);
  assert.equal((await planted(1, false)).crash, undefined);
});

test('a crash is kept byte by byte, once', () => {
  using folder = temporaryFolder();
  assert.deepEqual(keptCrashes(folder.at('nowhere')), []);
  const input = Buffer.of(0, 0xff, 0x0a);
  const file = keepCrash('mqtt-decoder', input, folder.path);
  assert.equal(keepCrash('mqtt-decoder', input, folder.path), file);
  assert.deepEqual(readFileSync(file), input);
  const kept = keptCrashes(folder.path);
  assert.deepEqual(
    kept.map(({ target, input: bytes }) => [target, bytes]),
    [['mqtt-decoder', input]],
  );
});
