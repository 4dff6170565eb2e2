/** The mailbox that workers share, written to by processes that are killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { Openings } from '../harness/openings.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { within } from '../harness/waiting.ts';

const child = new URL('../harness/command-child.ts', import.meta.url).pathname;

function start(t: TestContext, task: string, directory: string) {
  const running = spawn(process.execPath, [child, task, directory], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  t.after(() => running.kill('SIGKILL'));
  const lines: string[] = [];
  const enough = Promise.withResolvers<void>();
  if (running.stdout === null) throw new Error('no standard output');
  const reader = createInterface({ input: running.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    if (lines.length === 100) enough.resolve();
  });
  const ended = Promise.all([once(running, 'exit'), once(reader, 'close')]);
  return { running, lines, ended, enough: enough.promise };
}

test('workers that are killed while they write to one mailbox lose no command and bring none back', async (t) => {
  using folder = temporaryFolder();
  const directory = folder.at('store');
  const openings = new Openings();
  const writers = [1, 2, 3].map(() => {
    const writer = start(t, 'write', directory);
    void openings.next(writer.running);
    return writer;
  });
  await within(
    Promise.all(writers.map(({ enough }) => enough)),
    30_000,
    '100 lines of each writer',
  );
  for (const { running } of writers) running.kill('SIGKILL');
  await Promise.all(writers.map(({ ended }) => ended));

  const reader = start(t, 'read', directory);
  await within(reader.ended, 20_000, 'the end of the reader');
  const said = writers.flatMap(({ lines }) => lines);
  assert.deepEqual(
    said.filter((line) => line.startsWith('lost')),
    [],
  );
  const there = new Set(reader.lines);
  for (const line of said.filter((each) => each.startsWith('put')))
    assert.ok(there.has(line), line);
  const ids = reader.lines.map((line) => line.split(' ').at(-1) ?? '');
  assert.deepEqual(
    ids,
    [...new Set(ids)].toSorted(),
    'names are not given twice, and are in order',
  );
  const acknowledged = said.filter((line) => line.startsWith('acknowledged'));
  assert.ok(acknowledged.length > 100);
  for (const line of acknowledged) assert.ok(!ids.includes(line.split(' ').at(-1) ?? ''), line);
  // Of each writer, in the order in which it put them.
  for (const { running } of writers) {
    const numbers = reader.lines
      .map((line) => line.split(' '))
      .filter(([, pid]) => pid === String(running.pid))
      .map(([, , n]) => Number(n));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
  }
});
