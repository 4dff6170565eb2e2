/** Sessions that workers share, across processes that are killed at the worst moment. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { OwnedSession } from '../../src/worker/broker/sessions.ts';
import { Openings } from '../harness/openings.ts';
import { openSessionsOf, publisher, subscriber } from '../harness/session-child.ts';
import type { SessionsOf } from '../harness/session-child.ts';
import { within } from '../harness/waiting.ts';

const child = new URL('../harness/session-child.ts', import.meta.url).pathname;
const self = 9;

/** One publishing worker; `lines` is what it was promised. */
class Publisher {
  readonly slot: number;
  readonly lines: string[] = [];
  readonly #process: ReturnType<typeof spawn>;
  readonly #ended: Promise<unknown>;
  #look: () => void = () => {};

  constructor(t: TestContext, slot: number, folder: string, openings: Openings) {
    this.slot = slot;
    const args = [child, 'publish', `${slot}`, 'store'];
    const started = spawn(process.execPath, args, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    t.after(() => started.kill('SIGKILL'));
    void openings.next(started);
    if (started.stdout === null) throw new Error('no standard output');
    const reader = createInterface({ input: started.stdout });
    reader.on('line', (line) => {
      this.lines.push(line);
      this.#look();
    });
    this.#process = started;
    this.#ended = Promise.all([once(started, 'exit'), once(reader, 'close')]);
  }

  said(count: number): Promise<void> {
    const enough = new Promise<void>((resolve) => {
      this.#look = () => {
        if (this.lines.length >= count) resolve();
      };
      this.#look();
    });
    return within(enough, 60_000, `${count} promises`);
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

/**
 * A process that was killed while it flushed leaves a lock of LMDB to whoever comes next, and that may be the end of that
 * process: in the gateway a worker is started anew then.
 */
async function lockTakenOver(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const args = [child, 'visit', '7', 'store'];
    const started = spawn(process.execPath, args, { cwd: folder, stdio: 'ignore' });
    await once(started, 'exit');
    if (started.exitCode === 0) return;
  }
  assert.fail('the store stays broken');
}

function open({ store }: SessionsOf, clientId: string): Promise<OwnedSession> {
  const principal = clientId.startsWith('s') ? subscriber : publisher;
  const wanted = { principal, clientId, epoch: 2, cleanStart: false, expirySeconds: 1_000 };
  return store.open({ ...wanted, will: undefined });
}

async function queueOf(session: OwnedSession): Promise<ReadonlyMap<string, string>> {
  const queued = await session.queued(new Set(), 1_000_000);
  return new Map(queued.map(({ id, message }) => [id, message.payload.toString()]));
}

test('kill -9 of several publishers loses nothing acknowledged, and leaves nothing half done', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-sessions-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const wills: string[] = [];
  const survivor = openSessionsOf(
    self,
    join(folder, 'store'),
    () => [self],
    ({ payload }) => wills.push(payload.toString()),
  );
  const sessions = [await open(survivor, 's1'), await open(survivor, 's2')];
  const openings = new Openings();
  const publishers = [1, 2, 3].map((slot) => new Publisher(t, slot, folder, openings));
  await Promise.all(publishers.map((one) => one.said(100)));
  await Promise.all(publishers.map((one) => one.kill()));
  await lockTakenOver(folder);

  const queues = await Promise.all(sessions.map(queueOf));
  const [first, second] = queues;
  assert.ok(first !== undefined && second !== undefined);
  assert.deepEqual([...first], [...second], 'a message is in all queues or in none');
  assert.deepEqual([...first.keys()], [...first.keys()].toSorted(), 'in the order of time');
  for (const { slot, lines } of publishers) {
    const received = new Set((await open(survivor, `c${slot}`)).received.map(String));
    const promised = lines.map((line) => line.split(' '));
    for (const [id = '', packetId = ''] of promised) {
      assert.equal(first.get(id), `${slot} ${packetId}`, 'it was acknowledged');
    }
    const its: readonly string[] = [...first.values()].filter((text) =>
      text.startsWith(`${slot} `),
    );
    const packetIds = its.map((text) => text.slice(2));
    assert.deepEqual(new Set(packetIds), received, 'packet ids are stored with their messages');
  }

  await survivor.reaper.look();
  await survivor.reaper.close();
  await survivor.environment.close();
  assert.deepEqual(
    wills,
    [],
    'their clients are back: the next connection has dealt with the will',
  );
});

test('wills of workers that were killed are published', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-sessions-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { promise: all, resolve } = Promise.withResolvers<void>();
  const wills: string[] = [];
  let present = [1, 2, self];
  const survivor = openSessionsOf(
    self,
    join(folder, 'store'),
    () => present,
    ({ payload }) => {
      wills.push(payload.toString());
      if (wills.length === 2) resolve();
    },
  );
  const openings = new Openings();
  const publishers = [1, 2].map((slot) => new Publisher(t, slot, folder, openings));
  await Promise.all(publishers.map((one) => one.said(1)));
  await survivor.reaper.look();
  await Promise.all(publishers.map((one) => one.kill()));
  assert.deepEqual(wills, [], 'they were there');
  present = [self];
  await survivor.reaper.look();
  await within(all, 30_000, 'the wills');
  assert.deepEqual(new Set(wills), new Set(['will of 1', 'will of 2']));
  await survivor.reaper.close();
  await survivor.environment.close();
});
