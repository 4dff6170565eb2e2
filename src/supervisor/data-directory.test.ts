import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDataDirectory } from './data-directory.ts';

function temporary(t: { after(action: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-data-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('a data directory belongs to one supervisor at a time', (t) => {
  const path = join(temporary(t), 'deep', 'data');
  const first = openDataDirectory(path, undefined);
  assert.throws(() => openDataDirectory(path, undefined), { code: 'locked' });
  first.release();
  openDataDirectory(path, undefined).release();
});

test('the refusal names the pid of the gateway that runs', (t) => {
  const path = temporary(t);
  const first = openDataDirectory(path, undefined);
  writeFileSync(first.runFile, JSON.stringify({ pid: 4711 }));
  assert.throws(() => openDataDirectory(path, undefined), /pid 4711/);
  first.release();
});

test('the folders of both wings are closed to others, whatever they were before', (t) => {
  const previous = process.umask(0);
  t.after(() => process.umask(previous));
  const path = temporary(t);
  openDataDirectory(path, undefined).release();
  chmodSync(join(path, 'worker'), 0o777);
  const { control, worker, release } = openDataDirectory(path, undefined);
  release();
  for (const wing of [control, worker]) assert.equal(statSync(wing).mode & 0o777, 0o700);
});

test('what an earlier run said about itself is gone when the next one begins', (t) => {
  const path = temporary(t);
  writeFileSync(join(path, 'run.json'), '{}');
  const { runFile, release } = openDataDirectory(path, undefined);
  release();
  assert.equal(statSync(runFile, { throwIfNoEntry: false }), undefined);
});

test('a folder that cannot be made is an error that says what to do', () => {
  assert.throws(() => openDataDirectory('/dev/null/data', undefined), {
    code: 'io',
    hint: /--data/,
  });
});
