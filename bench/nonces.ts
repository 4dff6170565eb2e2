/**
 * Microseconds of CPU, of all threads, for a nonce that is remembered, and for a request whose HMAC is verified and whose
 * nonce is remembered; at how many that come in one turn of the event loop. With a flush, which a turn shares.
 * Prints one JSON line per subject: the median and the spread of the rounds.
 */
import { createHmac, hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { join } from 'node:path';
import { systemClock } from '../src/common/base/clock.ts';
import { silentLogger } from '../src/common/base/logger.ts';
import { principalName } from '../src/common/base/principal.ts';
import type { PrincipalName } from '../src/common/base/principal.ts';
import { derivedKey } from '../src/common/identity/derived-key.ts';
import { canonicalForm } from '../src/common/codec/http-signature/canonical-form.ts';
import type { KeyedIdentity } from '../src/worker/credentials/ports.ts';
import { RegisteredKeys } from '../src/worker/credentials/registered-keys.ts';
import { ReplayGuard } from '../src/worker/credentials/replay-guard.ts';
import { Signatures } from '../src/worker/credentials/signatures.ts';
import type { SignedRequestParts } from '../src/worker/credentials/signatures.ts';
import { LmdbEnvironment } from '../src/worker/store/lmdb-environment.ts';

const rounds = 5;
const perRound = 10_000;
const mostWaiting = 1_000;
const devices = 1_000;
const windowMs = 60_000;
const integrityKey = Buffer.alloc(32, 1);

const directory = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
const environment = LmdbEnvironment.open({ directory, names: ['kv'], clock: systemClock });
const store = environment.store('kv');
const once = environment.once();

function guard(): ReplayGuard {
  return new ReplayGuard({
    store: once,
    durability: () => 'process',
    perOwner: () => 10_000_000,
    clock: systemClock,
    logger: silentLogger,
  });
}

async function measure(
  subject: string,
  perTurn: number,
  work: (i: number) => Promise<boolean>,
): Promise<void> {
  const results: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const before = process.cpuUsage();
    let outcomes: Promise<boolean>[] = [];
    const settled = async (): Promise<void> => {
      if (!(await Promise.all(outcomes)).every(Boolean)) throw new TypeError(subject);
      outcomes = [];
    };
    for (let i = 0; i < perRound; i += 1) {
      outcomes.push(work(round * perRound + i));
      // Turns come as their messages do, and do not wait for the commits of those before.
      if (i % perTurn === 0) await nextTurn();
      if (i % mostWaiting === 0) await settled();
    }
    await settled();
    const { user, system } = process.cpuUsage(before);
    results.push((user + system) / perRound);
  }
  results.sort((a, b) => a - b);
  const at = (part: number): number =>
    Number((results[Math.round(part * (rounds - 1))] ?? 0).toFixed(2));
  const named = `${subject}, ${perTurn} a turn`;
  const line = { subject: named, unit: 'µs', median: at(0.5), min: at(0), max: at(1) };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function nonces(): Buffer[] {
  return Array.from({ length: rounds * perRound }, () => randomBytes(16));
}

const identities = new Map<PrincipalName, KeyedIdentity>(
  Array.from({ length: devices }, (_, i) => [
    principalName('device', `d${i}`),
    {
      standing: 'active',
      role: 'device',
      anchor: 'internal',
      keys: [{ type: 'derived', id: '1', notAfter: undefined }],
    },
  ]),
);

function signedRequests(): SignedRequestParts[] {
  const body = Buffer.from('{"temperature":22.5,"humidity":41.2,"battery":3.71,"sequence":184467}');
  const timestamp = String(Math.floor(Date.now() / 1_000));
  return nonces().map((bytes, i) => {
    const id = `d${i % devices}`;
    const nonce = bytes.toString('base64url');
    const keyId = `${id}.1`;
    const parts = { method: 'POST', path: '/api/v1/telemetry', query: undefined, body };
    const text = canonicalForm({ ...parts, query: '', timestamp, nonce, keyId });
    const key = derivedKey(integrityKey, { principal: principalName('device', id), id: '1' });
    const signature = createHmac('sha256', key).update(text).digest('hex');
    const fields = ['X-IoT-Signature', signature, 'X-IoT-Timestamp', timestamp];
    const usual = ['Host', 'gateway.example', 'Content-Type', 'application/json'];
    const rawHeaders = [...usual, ...fields, 'X-IoT-Nonce', nonce, 'X-IoT-Key-Id', keyId];
    return { ...parts, rawHeaders, principal: undefined };
  });
}

for (const perTurn of [1, 10]) {
  const forStore = nonces();
  const value = Buffer.of(1);
  await measure('KeyValueStore.commit, for comparison', perTurn, (i) => {
    const key = hash('sha256', forStore[i] ?? value, 'hex');
    const write = { key, value, expiresAt: Date.now() + windowMs };
    return store.commit([{ key, version: undefined }], [write], 'process');
  });
  const forGuard = nonces().map((bytes) => bytes.toString('base64url'));
  const replays = guard();
  await measure('nonce remembered', perTurn, async (i) => {
    const said = await replays.remember(`device/d${i % devices}`, forGuard[i] ?? '', windowMs);
    return said === 'new';
  });
  const keys = new RegisteredKeys(
    { identity: (name) => identities.get(name) },
    integrityKey,
    systemClock,
  );
  const signatures = new Signatures({ keys, replays: guard(), clock: systemClock });
  const rules = { required: true, accept: ['hmac' as const], windowMs: 600_000 };
  const requests = signedRequests();
  await measure('HMAC verified, nonce remembered', perTurn, async (i) => {
    const request = requests[i];
    const verdict = request && (await signatures.signedRequest(request)?.verify(rules));
    return verdict?.ok === true;
  });
  await measure('HMAC verified', perTurn, async (i) => {
    const request = requests[i];
    return request !== undefined && signatures.authenticateBySignature(request, rules).ok;
  });
}
await environment.close();
rmSync(directory, { recursive: true });
