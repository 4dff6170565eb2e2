import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { inTransaction, openDatabase } from './database.ts';
import {
  assertOwnFiles,
  ensureDirectory,
  giveFilesTo,
  readFileIfPresent,
  removeFile,
  writeFileAtomic,
  writeFilesAtomic,
} from './files.ts';
import { loadMasterKey } from './load-master-key.ts';
import { MasterKey } from './master-key.ts';
import { readSecret } from './read-secret.ts';

const start = process.cwd();
let folder: TemporaryFolder;
beforeEach(() => {
  folder = temporaryFolder();
  process.chdir(folder.path);
});
afterEach(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

test('files are 0600 and folders 0700 under any umask', () => {
  for (const mask of [0o000, 0o022, 0o377, 0o777]) {
    const before = process.umask(mask);
    try {
      ensureDirectory(`ca${mask}`);
      writeFileAtomic(`ca${mask}/secret`, 'x');
      writeFileAtomic(`ca${mask}/secret`, 'y');
      openDatabase(`db${mask}`).close();
    } finally {
      process.umask(before);
    }
    assert.equal(modeOf(`ca${mask}`), '700');
    assert.equal(modeOf(`ca${mask}/secret`), '600');
    assert.equal(readFileSync(`ca${mask}/secret`, 'utf8'), 'y');
    assert.equal(modeOf(`db${mask}`), '600');
  }
});

test('what a crash left of an earlier write is replaced, and a link there is not followed', () => {
  writeFileSync('victim', 'untouched');
  symlinkSync('victim', 'secret.tmp');
  writeFileAtomic('secret', 'x');
  assert.equal(readFileSync('victim', 'utf8'), 'untouched');
  assert.ok(lstatSync('secret').isFile());
  assert.deepEqual(readdirSync('.').toSorted(), ['secret', 'victim']);
});

test('reading is bounded, absence is undefined and removing is idempotent', () => {
  writeFileSync('f', '12345');
  assert.equal(readFileIfPresent('f', 5)?.toString(), '12345');
  assert.throws(() => readFileIfPresent('f', 4), failsWith('io'));
  assert.throws(() => readFileIfPresent('.', 4), failsWith('io'));
  removeFile('f');
  removeFile('f');
  assert.equal(readFileIfPresent('f', 5), undefined);
});

const key = (fill: number): MasterKey => new MasterKey(Buffer.alloc(32, fill));

test('what is sealed opens under the same key and context, and differs every time', () => {
  const sealed = key(1).seal(Buffer.from('secret'), 'ca/root.key');
  assert.equal(key(1).open(sealed, 'ca/root.key').toString(), 'secret');
  assert.ok(!sealed.equals(key(1).seal(Buffer.from('secret'), 'ca/root.key')));
  assert.ok(!sealed.includes('secret'));
  assert.equal(key(1).open(key(1).seal(Buffer.alloc(0), ''), '').length, 0);
});

test('another master key is no-key; another context or any changed bit is tampered', () => {
  const sealed = key(1).seal(Buffer.from('secret'), 'ca/root.key');
  assert.throws(() => key(2).open(sealed, 'ca/root.key'), failsWith('no-key'));
  assert.throws(() => key(1).open(sealed, 'ca/issuing.key'), failsWith('tampered'));
  const keyIdAt = 4;
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const expected = at >= keyIdAt && at < keyIdAt + 8 ? 'no-key' : 'tampered';
    assert.throws(() => key(1).open(changed, 'ca/root.key'), failsWith(expected), `byte ${at}`);
    assert.throws(() => key(1).open(sealed.subarray(0, at), 'ca/root.key'), SallyportError);
  }
});

test('derived keys depend on the key and the purpose and are not the sealing key', () => {
  const keys = [
    key(1).deriveKey('storage', 32),
    key(1).deriveKey('tickets', 32),
    key(2).deriveKey('storage', 32),
  ];
  assert.equal(new Set(keys.map((each) => each.toString('hex'))).size, 3);
  assert.deepEqual(key(1).deriveKey('storage', 32), keys[0]);
  assert.equal(key(1).deriveKey('storage', 80).length, 80);
  assert.throws(() => new MasterKey(Buffer.alloc(31)), failsWith('no-key'));
});

test('the first start makes a master key and later ones find it', () => {
  const first = loadMasterKey(undefined, 'ca', {});
  assert.equal(modeOf('master.key'), '600');
  assert.equal(readFileSync('master.key').length, 32);
  const again = loadMasterKey(undefined, 'ca', {});
  assert.deepEqual(again.deriveKey('x', 32), first.deriveKey('x', 32));
});

test('no new master key is made where the old one is needed', () => {
  mkdirSync('ca');
  assert.throws(() => loadMasterKey(undefined, 'ca', {}), failsWith('no-key'));
  assert.equal(readFileIfPresent('master.key', 100), undefined);
});

test('a master key comes from a file, a credential or a file that a variable names', () => {
  const raw = Buffer.alloc(32, 9);
  const expected = new MasterKey(raw).deriveKey('x', 32);
  mkdirSync('credentials');
  for (const content of [raw, `${raw.toString('hex')}\n`, `${raw.toString('base64')}\n`]) {
    writeFileSync('k', content, { mode: 0o600 });
    removeFile('credentials/master');
    writeFileSync('credentials/master', content, { mode: 0o440 });
    const environment = { CREDENTIALS_DIRECTORY: folder.at('credentials'), KEY_FILE: 'k' };
    for (const source of [{ file: 'k' }, { credential: 'master' }, { environment: 'KEY_FILE' }]) {
      assert.deepEqual(loadMasterKey(source, 'ca', environment).deriveKey('x', 32), expected);
    }
  }
});

test('a master key that is missing, malformed or open to others is refused', () => {
  writeFileSync('short', 'abc', { mode: 0o600 });
  writeFileSync('readable', Buffer.alloc(32), { mode: 0o600 });
  chmodSync('readable', 0o640);
  writeFileSync('writable', Buffer.alloc(32), { mode: 0o600 });
  chmodSync('writable', 0o620);
  const environment = {
    CREDENTIALS_DIRECTORY: '.',
    KEY: 'the secret itself',
    WRITABLE: 'writable',
  };
  const sources = [
    { file: 'absent' },
    { file: 'short' },
    { file: 'readable' },
    { credential: 'absent' },
    { credential: '../short' },
    { environment: 'UNSET' },
    { environment: 'KEY' },
    { environment: 'WRITABLE' },
  ];
  for (const source of sources) {
    const load = (): unknown => loadMasterKey(source, 'ca', environment);
    assert.throws(load, failsWith('no-key'), JSON.stringify(source));
  }
  assert.throws(() => loadMasterKey({ credential: 'short' }, 'ca', {}), failsWith('no-key'));
});

test('a secret is read without its line end, unless others can get at it', () => {
  writeFileSync('token', 'secret\n', { mode: 0o600 });
  writeFileSync('group', 'secret\n', { mode: 0o600 });
  chmodSync('group', 0o640);
  writeFileSync('writable', 'secret\n', { mode: 0o600 });
  chmodSync('writable', 0o620);
  writeFileSync('empty', '\n', { mode: 0o600 });
  const environment = { CREDENTIALS_DIRECTORY: '.', MOUNTED: 'group', WRITABLE: 'writable' };
  for (const source of [{ file: 'token' }, { credential: 'group' }, { environment: 'MOUNTED' }]) {
    assert.equal(readSecret(source, environment), 'secret');
  }
  for (const source of [
    { file: 'group' },
    { file: 'empty' },
    { file: 'absent' },
    { credential: 'writable' },
    { environment: 'WRITABLE' },
  ]) {
    const read = (): unknown => readSecret(source, environment);
    assert.throws(read, failsWith('no-key'), JSON.stringify(source));
  }
});

test('files that belong together are all on the disk before one takes its name', () => {
  writeFilesAtomic([
    ['a', '1'],
    ['b', '1'],
  ]);
  mkdirSync('b.tmp');
  const write = (): void =>
    writeFilesAtomic([
      ['a', '2'],
      ['b', '2'],
    ]);
  assert.throws(write, failsWith('io'));
  assert.deepEqual(
    ['a', 'b'].map((name) => readFileSync(name, 'utf8')),
    ['1', '1'],
  );
});

test('a folder is not made, or opened to its owner, through a link', () => {
  mkdirSync('elsewhere', { mode: 0o755 });
  symlinkSync('elsewhere', 'ca');
  assert.throws(() => ensureDirectory('ca'), failsWith('io'));
  assert.equal(modeOf('elsewhere'), '755');
});

test('a database is not made through a link', () => {
  symlinkSync('elsewhere.db', 'registry.db');
  assert.throws(() => openDatabase('registry.db'), failsWith('io'));
  assert.deepEqual(readdirSync('.'), ['registry.db']);
});

/** All that control has in its folder after a start. */
function makeOwnFiles(): void {
  loadMasterKey(undefined, 'ca', {});
  openDatabase('registry.db');
  writeFileSync('audit.jsonl', '', { mode: 0o600 });
  ensureDirectory('ca');
  writeFileAtomic('ca/root.pem', 'x');
}

const ownFiles = [
  'audit.jsonl',
  'ca/root.pem',
  'master.key',
  'registry.db',
  'registry.db-shm',
  'registry.db-wal',
];

test('an empty folder and files as control leaves them are its own', () => {
  assertOwnFiles();
  makeOwnFiles();
  writeFileSync('notes', 'what control does not open is not its concern');
  symlinkSync('notes', 'link');
  assertOwnFiles();
});

for (const file of [...ownFiles, 'registry.db-journal', 'ca/planted.tmp']) {
  test(`a link, a second name or a folder in the place of ${file} is refused`, () => {
    ensureDirectory('ca');
    writeFileSync('victim', 'untouched');
    symlinkSync(folder.at('victim'), file);
    assert.throws(assertOwnFiles, failsWith('tampered'), 'a link');
    removeFile(file);
    symlinkSync(folder.at('absent'), file);
    assert.throws(assertOwnFiles, failsWith('tampered'), 'a link to nothing');
    removeFile(file);
    linkSync('victim', file);
    assert.throws(assertOwnFiles, failsWith('tampered'), 'a second name');
    removeFile(file);
    mkdirSync(file);
    assert.throws(assertOwnFiles, failsWith('tampered'), 'a folder');
  });
}

test('a link or a file in the place of the folder of the CA is refused', () => {
  mkdirSync('elsewhere');
  symlinkSync('elsewhere', 'ca');
  assert.throws(assertOwnFiles, failsWith('tampered'));
  removeFile('ca');
  writeFileSync('ca', '');
  assert.throws(assertOwnFiles, failsWith('tampered'));
});

const isRoot = process.getuid?.() === 0;
const [other, stranger] = [65_534, 65_533];
const ownerOf = (path: string): number => lstatSync(path).uid;

test('files of root and of the owner of the folder are control’s, those of others are not', () => {
  makeOwnFiles();
  if (!isRoot) {
    assertOwnFiles();
    return;
  }
  chownSync('.', other, other);
  chownSync('master.key', other, other);
  assertOwnFiles();
  chownSync('ca/root.pem', stranger, stranger);
  assert.throws(assertOwnFiles, failsWith('tampered'));
  chownSync('ca/root.pem', other, other);
  chownSync('ca', stranger, stranger);
  assert.throws(assertOwnFiles, failsWith('tampered'));
});

test('root gives away what it has made, and nothing that is a link, has a second name or is somebody’s', () => {
  makeOwnFiles();
  if (!isRoot) {
    assert.throws(() => giveFilesTo('.', 0, 0), failsWith('io'));
    return;
  }
  giveFilesTo('.', other, other);
  for (const path of ['.', 'ca', ...ownFiles]) assert.equal(ownerOf(path), other, path);

  mkdirSync('next');
  process.chdir('next');
  mkdirSync('ca');
  for (const name of ['linked', 'twin', 'strange']) writeFileSync(`../${name}`, '');
  symlinkSync('../linked', 'registry.db');
  linkSync('../twin', 'master.key');
  linkSync('../twin', 'ca/root.pem');
  writeFileSync('audit.jsonl', '');
  chownSync('audit.jsonl', stranger, stranger);
  mkdirSync('deeper');
  writeFileSync('deeper/file', '');
  writeFileSync('unknown', '');
  giveFilesTo('.', other, other);
  assert.equal(ownerOf('audit.jsonl'), stranger);
  for (const path of ['../linked', '../twin', 'registry.db', 'deeper', 'deeper/file', 'unknown']) {
    assert.equal(ownerOf(path), 0, path);
  }

  mkdirSync('../last');
  process.chdir('../last');
  mkdirSync('../real');
  writeFileSync('../real/root.pem', '');
  symlinkSync('../real', 'ca');
  giveFilesTo('.', other, other);
  for (const path of ['../real', '../real/root.pem', 'ca']) assert.equal(ownerOf(path), 0, path);
});

test('the database is durable, strict about foreign keys, and its files are there and 0600', () => {
  const database = openDatabase('registry.db');
  const pragma = (name: string): unknown =>
    Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
  assert.equal(pragma('journal_mode'), 'wal');
  assert.equal(pragma('synchronous'), 2);
  assert.equal(pragma('foreign_keys'), 1);
  assert.equal(pragma('temp_store'), 2);
  for (const suffix of ['', '-wal', '-shm']) assert.equal(modeOf(`registry.db${suffix}`), '600');
  database.close();
});

test('migrations run once each, and a newer schema is refused', () => {
  const steps = ['CREATE TABLE a (n) STRICT', 'CREATE TABLE b (n)'];
  assert.throws(() => openDatabase('x.db', steps), failsWith('io'));
  const good = ['CREATE TABLE a (n INTEGER) STRICT', 'INSERT INTO a VALUES (1)'];
  for (const until of [1, 2, 2]) openDatabase('y.db', good.slice(0, until)).close();
  const database = openDatabase('y.db', good);
  assert.deepEqual({ ...database.prepare('SELECT count(*) AS n FROM a').get() }, { n: 1 });
  database.close();
  assert.throws(() => openDatabase('y.db', good.slice(0, 1)), failsWith('io'));
});

test('a migration that fails leaves nothing of itself', () => {
  const good = 'CREATE TABLE a (n INTEGER) STRICT';
  const bad = 'CREATE TABLE b (n INTEGER) STRICT; INSERT INTO nowhere VALUES (1)';
  assert.throws(() => openDatabase('z.db', [good, bad]), failsWith('io'));
  const database = openDatabase('z.db', [good]);
  assert.throws(() => database.prepare('SELECT * FROM b'));
  database.close();
});

test('what is not a database is refused and left alone', () => {
  writeFileSync('n.db', 'this is a text file and it is long enough to be looked at'.repeat(40));
  assert.throws(() => openDatabase('n.db'), failsWith('io'));
  assert.ok(readFileSync('n.db', 'utf8').startsWith('this is a text'));
});

test('a transaction that throws changes nothing', () => {
  const database = openDatabase('t.db', ['CREATE TABLE a (n INTEGER) STRICT']);
  const fail = (): never => {
    database.exec('INSERT INTO a VALUES (1)');
    throw new SallyportError('internal', 'no');
  };
  assert.throws(() => inTransaction(database, fail), failsWith('internal'));
  assert.deepEqual({ ...database.prepare('SELECT count(*) AS n FROM a').get() }, { n: 0 });
  inTransaction(database, () => database.exec('INSERT INTO a VALUES (1)'));
  database.close();
});

test('a full disk is told as what it is, and nothing is half written', () => {
  const database = openDatabase('registry.db', ['CREATE TABLE things (text TEXT NOT NULL) STRICT']);
  database.exec('PRAGMA max_page_count = 4');
  const fill = database.prepare('INSERT INTO things (text) VALUES (?)');
  assert.throws(
    () =>
      inTransaction(database, () => {
        fill.run('small');
        fill.run('x'.repeat(100_000));
      }),
    (thrown) => {
      assert.ok(thrown instanceof SallyportError, String(thrown));
      assert.equal(thrown.code, 'io');
      assert.match(`${thrown.message}; ${thrown.hint ?? ''}`, /full; make room on the disk/);
      return true;
    },
  );
  assert.equal(database.prepare('SELECT count(*) AS n FROM things').get()?.['n'], 0);
  database.close();
});

/** What control does at its start; as root it becomes another user, else the way to its folder is closed. */
const afterTheDrop = `
  import { chmodSync } from 'node:fs';
  import { giveFilesTo, readFileIfPresent, writeFileAtomic } from ${JSON.stringify(import.meta.resolve('./files.ts'))};
  import { inTransaction, openDatabase } from ${JSON.stringify(import.meta.resolve('./database.ts'))};
  process.chdir('parent/control');
  const steps = ['CREATE TABLE a (text TEXT) STRICT'];
  const database = openDatabase('registry.db', steps);
  writeFileAtomic('ca/sealed', 'before');
  if (process.getuid() === 0) {
    giveFilesTo('.', 65534, 65534);
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
  } else chmodSync('..', 0);
  const insert = database.prepare('INSERT INTO a VALUES (?)');
  // Past the size at which SQLite checkpoints by itself.
  for (let n = 0; n < 40; n++) inTransaction(database, () => insert.run('x'.repeat(200_000)));
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  writeFileAtomic('ca/sealed', readFileIfPresent('ca/sealed', 100) + ' and after');
  console.log(database.prepare('SELECT count(*) AS n FROM a').get().n);
  database.close();
`;

test('database and files serve on after privileges are dropped below a folder that is closed', () => {
  mkdirSync('parent/control/ca', { recursive: true, mode: 0o700 });
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', afterTheDrop], {
    encoding: 'utf8',
  });
  assert.equal(output.trim(), '40');
  chmodSync('parent', 0o700);
  assert.equal(readFileSync('parent/control/ca/sealed', 'utf8'), 'before and after');
  const database = new DatabaseSync('parent/control/registry.db');
  assert.deepEqual({ ...database.prepare('SELECT count(*) AS n FROM a').get() }, { n: 40 });
  database.close();
});
