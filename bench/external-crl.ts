/**
 * What a revocation list of another authority with a million certificates costs: control's CPU from the file to the
 * workers' snapshot, how long control's event loop is nobody else's meanwhile (CPU of its thread, for others compute on
 * this machine), bytes a serial number, and what a lookup costs a worker. Prints one JSON line for each; medians.
 */
import { createPrivateKey, randomBytes, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../src/common/base/clock.ts';
import { silentLogger } from '../src/common/base/logger.ts';
import { SerialSet } from '../src/common/base/serial-set.ts';
import { oids } from '../src/common/codec/der/oids.ts';
import { tag } from '../src/common/codec/der/tag.ts';
import {
  bitString,
  element,
  explicit,
  oid,
  sequence,
  time,
  unsignedInteger,
} from '../src/common/codec/der/writer.ts';
import { parseCertificate } from '../src/common/identity/certificate.ts';
import { CrlFiles } from '../src/control/revocation/external/crl-files.ts';
import { CrlRecords } from '../src/control/revocation/external/crl-records.ts';
import { ExternalCrls } from '../src/control/revocation/external/external-crls.ts';
import { obtainCrl } from '../src/control/revocation/external/obtain-crl.ts';
import { openDatabase } from '../src/control/store/database.ts';
import { makeAuthority } from '../test/harness/openssl.ts';
import { extension } from '../test/harness/revocation-list.ts';

const rounds = 5;
const entries = 1_000_000;
const serialBytes = 16;
const hourMs = 3_600_000;

const folder = mkdtempSync(join(tmpdir(), 'sallyport-'));
const serials = randomBytes(entries * serialBytes);
for (let at = 0; at < serials.length; at += serialBytes) {
  serials[at] = ((serials[at] ?? 0) & 0x3f) | 0x40;
}
const authority = makeAuthority(join(folder, 'ca'), 'Bench');
const file = join(folder, 'list.crl');
writeFileSync(file, list());
const database = openDatabase(join(folder, 'registry.db'));
try {
  const cpu: number[] = [];
  const blocks: number[] = [];
  let snapshot: Buffer = Buffer.alloc(0);
  for (let round = 0; round < rounds; round += 1) {
    const crls = controlLists(round, (body) => (snapshot = body));
    const start = process.cpuUsage();
    blocks.push(await longestBlock(() => crls.look()));
    const used = process.cpuUsage(start);
    cpu.push((used.user + used.system) / 1_000);
    if (crls.states()[0]?.revoked !== entries) throw new Error('entries are missing');
  }
  const line = (subject: string, unit: string, value: number): void =>
    console.log(JSON.stringify({ subject, unit, value: Number(value.toPrecision(3)) }));
  const median = (figures: readonly number[]): number =>
    figures.toSorted((a, b) => a - b)[Math.floor(rounds / 2)] ?? 0;
  line('list of a million: CPU of control', 'ms', median(cpu));
  line('list of a million: longest block of control', 'ms', median(blocks));
  line('list of a million: snapshot', 'bytes per serial number', snapshot.length / entries);

  const set = SerialSet.for(entries, serialBytes);
  for (let at = 0; at < serials.length; at += serialBytes) set.add(numberAt(at));
  const before = process.cpuUsage();
  for (let at = 0; at < serials.length; at += serialBytes) {
    if (!set.has(numberAt(at))) throw new Error('a serial number is missing');
  }
  const looked = process.cpuUsage(before);
  line('list of a million: lookup', 'µs', (looked.user + looked.system) / entries);
} finally {
  database.close();
  rmSync(folder, { recursive: true });
}

function numberAt(at: number): Buffer {
  return serials.subarray(at, at + serialBytes);
}

/** DER; every entry has a reason. */
function list(): Buffer {
  const { subject } = parseCertificate(new X509Certificate(readFileSync(authority.crt)).raw);
  const reason = extension(oids.reasonCode, element(tag.enumerated, Buffer.of(1)));
  const rest = Buffer.concat([time(Date.now() - hourMs), sequence(reason)]);
  const head = Buffer.of(tag.sequence, 2 + serialBytes + rest.length, tag.integer, serialBytes);
  const parts: Buffer[] = [];
  for (let at = 0; at < serials.length; at += serialBytes) parts.push(head, numberAt(at), rest);
  const algorithm = sequence(oid(oids.ecdsaWithSha256));
  const signed = sequence(
    unsignedInteger(1),
    algorithm,
    subject,
    time(Date.now() - hourMs),
    time(Date.now() + hourMs),
    sequence(Buffer.concat(parts)),
    explicit(0, sequence(extension(oids.crlNumber, unsignedInteger(1)))),
  );
  const key = createPrivateKey(readFileSync(authority.key));
  return sequence(signed, algorithm, bitString(sign('sha256', signed, key)));
}

function controlLists(round: number, onSnapshot: (body: Buffer) => void): ExternalCrls {
  const crls = new ExternalCrls({
    clock: systemClock,
    logger: silentLogger,
    records: new CrlRecords(database),
    files: new CrlFiles(join(folder, `files-${round}`)),
    obtain: obtainCrl,
    hasExpired: () => false,
    auditLog: { append: (entry) => ({ ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' }) },
    publish: async () => {},
    publishSnapshot: () => {
      onSnapshot(Buffer.from(JSON.stringify({ revokedLists: crls.revokedLists() })));
    },
    mostRevoked: 2 * entries,
    onTrust: () => {},
  });
  crls.configure([
    {
      name: 'bench',
      file: authority.crt,
      pem: readFileSync(authority.crt, 'utf8'),
      kind: 'device',
      role: 'device',
      from: 'cn',
      prefix: '',
      register: 'auto',
      crl: {
        from: [{ file }],
        whenStale: 'fail-closed',
        everyMs: hourMs,
        timeoutMs: hourMs,
        maxBytes: 2 ** 28,
        keepDays: 1,
      },
    },
  ]);
  return crls;
}

/** Milliseconds of its own CPU that the thread spent between two chances for a timer to ring. */
async function longestBlock(run: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = spentMs();
  const beat = setInterval(() => {
    const now = spentMs();
    longest = Math.max(longest, now - last);
    last = now;
  }, 1);
  await delay(20);
  longest = 0;
  await run();
  await delay(5);
  clearInterval(beat);
  return longest;
}

function spentMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
