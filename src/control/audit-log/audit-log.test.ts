import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { openDatabase } from '../store/database.ts';
import { openAuditLog } from './audit-log.ts';
import type { AuditLog } from './audit-log.ts';
import { HeadStore } from './head-store.ts';
import { chainRecord, firstPrev, formatRecord, parseRecord } from './record.ts';
import type { AuditRecord } from './record.ts';

let folder: TemporaryFolder;
let file = '';
let database: ReturnType<typeof openDatabase>;
const opened: AuditLog[] = [];
const now = Date.UTC(2026, 10, 21, 4, 0, 0, 7);
const clock = { now: () => now, monotonic: () => 0 };

beforeEach(() => {
  folder = temporaryFolder();
  file = folder.at('audit.jsonl');
  database = openDatabase(folder.at('registry.db'));
});
afterEach(() => {
  for (const log of opened.splice(0)) log.close();
  database.close();
  folder[Symbol.dispose]();
});

function open(): AuditLog {
  const log = openAuditLog({ path: file, database, clock });
  opened.push(log);
  return log;
}

const entry = (target: string): { actor: string; action: string; target: string } => ({
  actor: 'local:0',
  action: 'device.revoke',
  target,
});

/** A log with lines 1 to `count`. */
function written(count = 6): AuditLog {
  const log = open();
  for (let n = 1; n <= count; n++) log.append(entry(`device/d${n}`));
  return log;
}

const lines = (): string[] => readFileSync(file, 'utf8').trimEnd().split('\n');
const store = (changed: readonly string[]): void =>
  writeFileSync(file, changed.map((line) => `${line}\n`).join(''));
const recordAt = (index: number): AuditRecord => parseRecord(lines()[index] ?? '')!;

/** A line as the gateway would have written it, hash and all. */
const forged = (seq: number, prev: string): string =>
  formatRecord(chainRecord(entry('device/forged'), seq, now, prev));

test('a line can be checked without this program', () => {
  open().append({
    actor: 'local:0',
    action: 'device.revoke',
    target: 'device/d1',
    detail: { reason: 'lost\n\u001b[31m', b: [1, null], a: { z: true }, c: undefined },
  });
  const canonical =
    '{"action":"device.revoke","actor":"local:0","at":"2026-11-21T04:00:00.007Z",' +
    '"detail":{"a":{"z":true},"b":[1,null],"reason":"lost\\n\\u001b[31m"},' +
    `"prev":"${'0'.repeat(64)}","seq":1,"target":"device/d1"}`;
  const digest = execFileSync('openssl', ['dgst', '-sha256', '-r'], { input: canonical });
  const own = digest.toString().slice(0, 64);
  assert.equal(
    readFileSync(file, 'utf8'),
    '{"seq":1,"at":"2026-11-21T04:00:00.007Z","actor":"local:0","action":"device.revoke",' +
      '"target":"device/d1","detail":{"a":{"z":true},"b":[1,null],"reason":"lost\\n\\u001b[31m"},' +
      `"prev":"${'0'.repeat(64)}","hash":"${own}"}\n`,
  );
});

test('an untouched log verifies, also after it was closed and opened', async () => {
  assert.deepEqual(await open().verify(), { ok: true, lines: 0 });
  const log = written();
  assert.deepEqual(await log.verify(), { ok: true, lines: 6 });
  const again = open();
  assert.equal(again.damaged, false);
  again.append(entry('device/d7'));
  assert.deepEqual(await again.verify(), { ok: true, lines: 7 });
  assert.equal(recordAt(6).prev, recordAt(5).hash);
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

/** What is done to the six lines; the first bad line (1-based) and the fault. */
const tamperings: readonly (readonly [
  string,
  (all: string[]) => readonly string[],
  number,
  string,
])[] = [
  [
    'a character of line 3 changed',
    (all) => all.with(2, (all[2] ?? '').replace('d3', 'd9')),
    3,
    'changed',
  ],
  [
    'a space put into line 3',
    (all) => all.with(2, (all[2] ?? '').replace('{', '{ ')),
    3,
    'changed',
  ],
  [
    'a member said twice in line 3',
    (all) => all.with(2, (all[2] ?? '').replace('{', '{"actor":"nobody",')),
    3,
    'changed',
  ],
  [
    'a member added to line 3',
    (all) => all.with(2, (all[2] ?? '').replace('{', '{"x":1,')),
    3,
    'changed',
  ],
  ['line 3 emptied', (all) => all.with(2, ''), 3, 'changed'],
  ['line 3 no JSON', (all) => all.with(2, 'x'), 3, 'changed'],
  ['line 3 nested deeply', (all) => all.with(2, '['.repeat(50_000)), 3, 'changed'],
  ['line 3 a megabyte', (all) => all.with(2, 'x'.repeat(1_000_000)), 3, 'changed'],
  [
    'line 3 rewritten with a hash that fits',
    (all) => all.with(2, forged(3, prevOf(all, 2))),
    3,
    'changed',
  ],
  [
    'line 6 rewritten with a hash that fits',
    (all) => all.with(5, forged(6, prevOf(all, 5))),
    6,
    'changed',
  ],
  [
    'line 1 rewritten with a hash that fits',
    (all) => all.with(0, forged(1, firstPrev)),
    1,
    'changed',
  ],
  [
    'line 1 rewritten with another beginning',
    (all) => all.with(0, forged(1, 'f'.repeat(64))),
    1,
    'changed',
  ],
  ['line 1 removed', (all) => all.toSpliced(0, 1), 1, 'removed'],
  ['line 3 removed', (all) => all.toSpliced(2, 1), 3, 'removed'],
  ['lines 3 and 4 removed', (all) => all.toSpliced(2, 2), 3, 'removed'],
  ['line 6 cut off', (all) => all.slice(0, 5), 6, 'cut off'],
  ['lines 4 to 6 cut off', (all) => all.slice(0, 3), 4, 'cut off'],
  ['everything cut off', () => [], 1, 'cut off'],
  [
    'lines 3 and 4 swapped',
    (all) => all.with(2, all[3] ?? '').with(3, all[2] ?? ''),
    3,
    'reordered',
  ],
  ['line 1 moved to the end', (all) => [...all.slice(1), all[0] ?? ''], 1, 'reordered'],
  ['line 3 there twice', (all) => all.toSpliced(3, 0, all[2] ?? ''), 4, 'inserted'],
  ['line 2 again after line 5', (all) => all.toSpliced(5, 0, all[1] ?? ''), 6, 'inserted'],
  [
    'a forged line 3 before the true one',
    (all) => all.toSpliced(2, 0, forged(3, prevOf(all, 2))),
    3,
    'inserted',
  ],
  [
    'a forged line 3 behind the true one',
    (all) => all.toSpliced(3, 0, forged(3, prevOf(all, 2))),
    4,
    'inserted',
  ],
  [
    'a forged line 7',
    (all) => [...all, forged(7, parseRecord(all[5] ?? '')?.hash ?? '')],
    7,
    'inserted',
  ],
  ['an empty line at the end', (all) => [...all, ''], 7, 'changed'],
];

function prevOf(all: readonly string[], index: number): string {
  return parseRecord(all[index] ?? '')?.prev ?? '';
}

for (const [what, tamper, line, fault] of tamperings) {
  test(`verify names the line: ${what}`, async () => {
    const log = written();
    store(tamper(lines()));
    const expected = { ok: false, line, fault };
    const seen = async (from: AuditLog): Promise<unknown> => {
      const verdict = await from.verify();
      return verdict.ok ? verdict : { ok: false, line: verdict.line, fault: verdict.fault };
    };
    assert.deepEqual(await seen(log), expected, 'while it runs');
    assert.deepEqual(await seen(open()), expected, 'after a restart');
  });
}

test('what was cut off stays found when the log goes on', async () => {
  written();
  store(lines().slice(0, 4));
  const log = open();
  assert.equal(log.damaged, true);
  log.append(entry('device/d7'));
  for (const each of [log, open()]) {
    const verdict = await each.verify();
    assert.deepEqual([verdict.ok, 'line' in verdict && verdict.line], [false, 5]);
  }
});

test('a log that ends inside a line is damaged, and the next line stands by itself', async () => {
  written();
  await confirmed();
  truncateSync(file, statSync(file).size - 10);
  const log = open();
  assert.equal(log.damaged, true);
  log.append(entry('device/d7'));
  assert.equal(parseRecord(lines().at(-1) ?? '')?.target, 'device/d7');
  const verdict = await log.verify();
  assert.ok(!verdict.ok && verdict.line === 6);
});

test('a log whose file is gone, or whose database is new, is damaged', async () => {
  written();
  writeFileSync(file, '');
  assert.equal(open().damaged, true);
  const other = openDatabase(folder.at('new.db'));
  writeFileSync(file, `${forged(1, firstPrev)}\n`);
  const log = openAuditLog({ path: file, database: other, clock });
  opened.push(log);
  assert.equal(log.damaged, true);
  assert.equal((await log.verify()).ok, false);
  other.close();
});

/** The states between announcing a line in the head and confirming it there. */
const nextLine = (): AuditRecord => chainRecord(entry('device/d7'), 7, now, recordAt(5).hash);
const announce = ({ hash, prev, seq }: AuditRecord): void =>
  new HeadStore(database).announce({ seq: seq - 1, hash: prev }, hash);

/** The last line is confirmed when everybody else has had their turn. */
const confirmed = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a line that nobody follows is confirmed soon, and when the log is closed', async () => {
  const log = written();
  assert.equal(new HeadStore(database).read().pendingHash, log.head.hash);
  await confirmed();
  assert.deepEqual(new HeadStore(database).read(), { ...log.head, pendingHash: undefined });
  log.append(entry('device/d7'));
  opened.splice(opened.indexOf(log), 1);
  log.close();
  assert.deepEqual(new HeadStore(database).read(), { ...log.head, pendingHash: undefined });
});

test('killed before the line was written: as if it had never been', async () => {
  written();
  announce(nextLine());
  const log = open();
  assert.equal(log.damaged, false);
  assert.deepEqual(await log.verify(), { ok: true, lines: 6 });
});

test('killed inside the line, at every byte: it is taken back', async () => {
  written();
  const whole = `${formatRecord(nextLine())}\n`;
  const size = statSync(file).size;
  for (let length = 1; length < whole.length; length += 7) {
    announce(nextLine());
    appendFileSync(file, whole.slice(0, length));
    assert.equal(open().damaged, false, `${length}`);
    assert.equal(statSync(file).size, size);
  }
  assert.deepEqual(await open().verify(), { ok: true, lines: 6 });
});

test('killed before the line was confirmed: it is kept', async () => {
  written();
  const next = nextLine();
  announce(next);
  appendFileSync(file, `${formatRecord(next)}\n`);
  const log = open();
  assert.equal(log.damaged, false);
  assert.equal(log.head.seq, 7);
  log.append(entry('device/d8'));
  assert.deepEqual(await log.verify(), { ok: true, lines: 8 });
});

test('a crash explains neither a line that was not announced nor a second one nor a missing one', () => {
  written();
  const next = nextLine();
  const line = formatRecord(next);
  const whole = readFileSync(file, 'utf8');
  const other = formatRecord(chainRecord(entry('device/evil'), 7, now, recordAt(5).hash));
  const announced = [
    `${other}\n`,
    `${line}\n${forged(8, next.hash)}\n`,
    `${line}\n${line.slice(0, 9)}`,
  ];
  for (const tail of announced) {
    writeFileSync(file, whole + tail);
    announce(next);
    assert.equal(open().damaged, true, tail);
  }
  for (const tail of [`${line}\n`, line.slice(0, 20)]) {
    writeFileSync(file, whole + tail);
    assert.equal(open().damaged, true, 'not announced');
  }
  writeFileSync(file, whole.slice(0, whole.lastIndexOf('\n', whole.length - 2) + 1));
  announce(next);
  assert.equal(open().damaged, true, 'the line before is missing');
});

test('kill -9 while it writes loses no line that was acknowledged', async () => {
  const program = `
    import { openAuditLog } from ${JSON.stringify(import.meta.resolve('./audit-log.ts'))};
    import { openDatabase } from ${JSON.stringify(import.meta.resolve('../store/database.ts'))};
    import { systemClock } from ${JSON.stringify(import.meta.resolve('../../common/base/clock.ts'))};
    import { writeSync } from 'node:fs';
    const log = openAuditLog({ path: process.argv[1], database: openDatabase(process.argv[2]), clock: systemClock });
    for (;;) writeSync(1, log.append({ actor: 'a', action: 'b', target: 'c'.repeat(200) }).seq + '\\n');
  `;
  let acknowledged = 0;
  for (let round = 0; round < 3; round++) {
    const killAt = acknowledged + 20;
    const args = ['--input-type=module', '-e', program, file, folder.at('registry.db')];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = Number(line);
      if (acknowledged === killAt) child.kill('SIGKILL');
    }
    await exited;
    const log = open();
    assert.equal(log.damaged, false);
    assert.ok(log.head.seq >= acknowledged, `${log.head.seq} >= ${acknowledged}`);
    assert.deepEqual(await log.verify(), { ok: true, lines: log.head.seq });
    acknowledged = log.head.seq;
  }
});

test('what does not fit the disk is refused and leaves the log whole', async () => {
  const log = written();
  const { size } = statSync(file);
  database.exec('PRAGMA query_only = ON');
  assert.throws(
    () => log.append(entry('device/d7')),
    (thrown) => thrown instanceof SallyportError && thrown.code === 'io',
  );
  assert.equal(statSync(file).size, size);
  database.exec('PRAGMA query_only = OFF');
  // The line is in the file by then.
  database.exec(`CREATE TRIGGER full BEFORE UPDATE OF seq ON audit_head
    BEGIN SELECT RAISE(ABORT, 'disk full'); END`);
  assert.throws(
    () => log.append(entry('device/d7')),
    (thrown) => thrown instanceof SallyportError && thrown.code === 'io',
  );
  assert.equal(statSync(file).size, size);
  database.exec('DROP TRIGGER full');
  log.append(entry('device/d7'));
  assert.deepEqual(await log.verify(), { ok: true, lines: 7 });
});

test('a line is bounded, whatever is put on record', async () => {
  const log = open();
  const huge = '\u0001\ud800"\\'.repeat(100_000);
  log.append({ actor: huge, action: huge, target: huge, detail: { huge } });
  log.append({ ...entry('x'), detail: { ['__proto__']: { a: 1 }, '\u2028': '\u007f' } });
  assert.ok(statSync(file).size < 64 * 1024);
  assert.deepEqual(await log.verify(), { ok: true, lines: 2 });
  assert.equal(open().damaged, false);
  assert.equal(Object.hasOwn(recordAt(1).detail as object, '__proto__'), true);
});

test('reading pages through the lines', async () => {
  const log = written();
  const seqs = async (after: number, limit: number): Promise<number[]> =>
    (await log.read(after, limit)).map(({ seq }) => seq);
  assert.deepEqual(await seqs(0, 1000), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(await seqs(2, 2), [3, 4]);
  assert.deepEqual(await seqs(6, 10), []);
});

test('a link in place of the log is refused', () => {
  writeFileSync(folder.at('victim'), '');
  symlinkSync('victim', file);
  assert.throws(
    () => open(),
    (thrown) => thrown instanceof SallyportError && thrown.code === 'io',
  );
});
