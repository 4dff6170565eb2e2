import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { after, beforeEach, test } from 'node:test';
import { systemClock } from '../common/base/clock.ts';
import { auditFile, openAuditLog } from '../control/audit-log/audit-log.ts';
import { databaseFile, openDatabase } from '../control/store/database.ts';
import { runCommandLine } from './program.ts';

const home = mkdtempSync(join(tmpdir(), 'sallyport-audit-'));
let data = '';
/** Kept: a database that is collected as garbage is closed, and its journal gone. */
const left: DatabaseSync[] = [];

/** What a gateway leaves that has been killed: nothing was closed in order. */
beforeEach(() => {
  data = mkdtempSync(join(home, 'data-'));
  mkdirSync(join(data, 'control'));
  const path = join(data, 'control', auditFile);
  const database = openDatabase(join(data, 'control', databaseFile));
  left.push(database);
  const log = openAuditLog({ path, database, clock: systemClock });
  for (const id of ['d1', 'd2', 'd3']) {
    log.append({ actor: 'local:0', action: 'device.create', target: `device/${id}` });
  }
  log.close();
});

after(() => {
  for (const database of left) database.close();
  rmSync(home, { recursive: true });
});

async function verify() {
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: undefined,
  };
  const code = await runCommandLine(['audit-log', 'verify', '--data', data], terminal, '0.1.0');
  return { code, out, err };
}

function lines(): string[] {
  return readFileSync(join(data, 'control', auditFile), 'utf8')
    .trimEnd()
    .split('\n');
}

function write(changed: readonly string[]): void {
  writeFileSync(join(data, 'control', auditFile), changed.map((line) => `${line}\n`).join(''));
}

test('the log of a gateway that does not run is verified, and nothing is left behind or changed', async () => {
  const before = readdirSync(join(data, 'control'));
  assert.deepEqual(await verify(), { code: 0, out: '3 lines, all as written.\n', err: '' });
  assert.deepEqual(readdirSync(join(data, 'control')), before);
});

test('a line changed, removed, cut off or added is named', async () => {
  const [first = '', second = '', third = ''] = lines();
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[first, second.replace('device/d2', 'device/d9'), third], /line 2/],
    [[first, third], /line 2/],
    [[first, second], /line 3/],
    [[first, second, third, third.replace('device/d3', 'device/d4')], /line 4/],
  ];
  for (const [changed, where] of cases) {
    write(changed);
    const { code, out, err } = await verify();
    assert.deepEqual([code, out], [1, '']);
    assert.match(err, where);
    assert.match(err, /^error: [^\n]+\n$/);
    assert.deepEqual(lines(), changed, 'the evidence is as it was found');
  }
});

test('a gateway that is only being restarted is not judged from its files', async () => {
  appendFileSync(join(data, 'run.json'), JSON.stringify({ version: 1, pid: process.pid }));
  const { code, err } = await verify();
  assert.deepEqual([code, err], [1, 'error: control is restarting; try again in a moment\n']);
});

test('where no gateway ever ran there is nothing to verify', async () => {
  rmSync(join(data, 'control', databaseFile));
  assert.match((await verify()).err, /^error: no gateway runs on /);
});
