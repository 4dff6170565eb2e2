import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { until } from '../../test/harness/waiting.ts';
import { encodeFrame, frameKinds } from '../common/ipc/frames.ts';
import { Child } from './child.ts';
import { processLoad } from './process-stat.ts';

const limits = { ticks: 3, busyTicks: 6, busyCpuMs: 60_000 };
/** What a child of these tests says before it does anything else. */
const word = encodeFrame(
  { channel: 0, kind: frameKinds.plain, epoch: 0, seq: 0 },
  Buffer.from('{"type":"joined"}'),
);

/** @param then what the child does after its only word, until it is killed. */
async function childThat(t: TestContext, then: string, silence = limits): Promise<Child> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-child-'));
  const entry = join(directory, 'entry.mjs');
  writeFileSync(
    entry,
    `import { writeSync } from 'node:fs';
     writeSync(3, Buffer.from('${word.toString('base64')}', 'base64'));
     ${then}`,
  );
  const command = { entry, directory, nodeFlags: [], environment: {}, maxFrameBytes: 1_024 };
  const child = new Child(command, silence, 0);
  t.after(() => {
    child.kill();
    rmSync(directory, { recursive: true });
  });
  await new Promise<void>((resolve) => {
    child.link.onFrame = () => resolve();
  });
  child.heard();
  child.started();
  return child;
}

/** One whose loop has begun: until then it may wait for the disk, and look idle between two ticks without time. */
async function busyChild(t: TestContext, silence = limits): Promise<Child> {
  const child = await childThat(t, 'for (;;);', silence);
  const used = (): number => processLoad(child.pid)?.cpuMs ?? 0;
  const before = used();
  await until('it is in its loop', 30_000, () => used() >= before + 100);
  return child;
}

/** Ticks until it is killed, at most `most`. */
function ticksUntilKilled(child: Child, most: number): number {
  for (let n = 1; n <= most; n += 1) if (!child.tick()) return n;
  return Number.POSITIVE_INFINITY;
}

test('a child that does nothing and says nothing is killed after its time, and told of once', async (t) => {
  const child = await childThat(t, 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);');
  const gone = new Promise<string>((resolve) => {
    child.onEnd = resolve;
  });
  let cpuMs = -1;
  await until('all its threads sleep', 30_000, () => {
    const before = cpuMs;
    cpuMs = processLoad(child.pid)?.cpuMs ?? 0;
    return cpuMs === before && processLoad(child.pid)?.busy === false;
  });
  assert.equal(ticksUntilKilled(child, 20), 4);
  assert.equal(child.killed, true);
  assert.equal(child.tick(), true);
  assert.equal(await gone, 'SIGKILL');
});

test('a child that is busy gets more time, and no more than that', async (t) => {
  const child = await busyChild(t);
  assert.equal(ticksUntilKilled(child, 20), 7);
});

test('a child that uses the processor up is killed before its time', async (t) => {
  const child = await busyChild(t, { ticks: 3, busyTicks: 1_000_000, busyCpuMs: 2_000 });
  const used = (): number => processLoad(child.pid)?.cpuMs ?? 0;
  for (let n = 0; n < 3; n += 1) assert.equal(child.tick(), true);
  // The silence has begun; ticks alone do not end it.
  for (let n = 0; n < 10; n += 1) assert.equal(child.tick(), true);
  const before = used();
  await until('it has used that', 60_000, () => used() >= before + 2_000);
  assert.equal(child.tick(), false);
});

test('a child that works in other threads while its own waits is at work', async (t) => {
  const child = await childThat(
    t,
    `const { Worker } = await import('node:worker_threads');
     const shared = new Int32Array(new SharedArrayBuffer(4));
     const spin = new Worker('const { workerData: s } = require("node:worker_threads"); Atomics.store(s, 0, 1); Atomics.notify(s, 0); for (;;);', { eval: true, workerData: shared });
     await new Promise((resolve) => spin.once('online', resolve));
     Atomics.wait(shared, 0, 0);
     Atomics.wait(shared, 0, 1);`,
    { ticks: 3, busyTicks: 1_000_000, busyCpuMs: 60_000 },
  );
  await until('its own thread sleeps', 30_000, () => processLoad(child.pid)?.busy === false);
  for (let n = 0; n < 3; n += 1) assert.equal(child.tick(), true);
  for (let n = 0; n < 10; n += 1) {
    const before = processLoad(child.pid)?.cpuMs ?? 0;
    await until('it works', 30_000, () => (processLoad(child.pid)?.cpuMs ?? 0) > before);
    assert.equal(child.tick(), true);
  }
});

test('a child that is stopped gets none, however busy it was', async (t) => {
  const child = await busyChild(t);
  child.process.kill('SIGSTOP');
  while (processLoad(child.pid)?.busy === true)
    await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ticksUntilKilled(child, 20), 4);
});

test('a child that is heard is left alone', async (t) => {
  const child = await childThat(t, 'for (;;);');
  for (let n = 0; n < 20; n += 1) {
    assert.equal(child.tick(), true);
    child.heard();
  }
  assert.equal(child.killed, false);
});
