import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { endLeftovers, rememberChildren } from './leftovers.ts';

function setUp(t: { after(action: () => void): void }) {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-leftovers-'));
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  assert.ok(child.pid !== undefined);
  return { directory, child, pid: child.pid };
}

test('a stopped child of an earlier run is ended', async (t) => {
  const { directory, child, pid } = setUp(t);
  child.kill('SIGSTOP');
  rememberChildren(directory, [pid]);
  const exited = once(child, 'exit');
  assert.deepEqual(await endLeftovers(directory), [pid]);
  await exited;
  assert.equal(child.signalCode, 'SIGKILL');
});

test('a stranger that got the pid since is left alone', async (t) => {
  const { directory, child, pid } = setUp(t);
  rememberChildren(directory, [pid]);
  const file = join(directory, 'children.json');
  const remembered = JSON.parse(readFileSync(file, 'utf8')) as readonly object[]; // written by us just now
  writeFileSync(file, JSON.stringify(remembered.map((each) => ({ ...each, startTime: '1' }))));
  assert.deepEqual(await endLeftovers(directory), []);
  assert.equal(child.exitCode, null);
});

test('a damaged or hostile list ends nobody', async (t) => {
  const { directory } = setUp(t);
  const file = join(directory, 'children.json');
  for (const text of ['', '{', 'null', '[{"pid":1,"startTime":"1"}]', '[{"pid":"1"}]', '[null]']) {
    writeFileSync(file, text);
    assert.deepEqual(await endLeftovers(directory), []);
  }
});
