/** Spools that workers share, each a process of its own: killed in the middle of it all, and with a disk that is full. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chmodSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Member, SpoolState } from '../../src/common/ipc/messages.ts';
import type { BackendSettings } from '../../src/common/ipc/snapshot.ts';
import { Openings } from '../harness/openings.ts';
import type { OpeningWord } from '../harness/openings.ts';
import type { SpoolAnswer, SpoolCommand } from '../harness/spool-child.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';
import { until, within } from '../harness/waiting.ts';

const child = new URL('../harness/spool-child.ts', import.meta.url).pathname;

class Worker {
  readonly member: Member;
  readonly process: ChildProcess;
  readonly #open = new Map<number, (answer: unknown) => void>();
  #last = 0;

  constructor(slot: number, generation: number, folder: string, execPath: string) {
    const args = [`${slot}`, `${generation}`];
    this.process = fork(child, args, { cwd: folder, execPath, stdio: 'ignore' });
    this.member = { slot, generation, pid: this.process.pid ?? 0 };
    this.process.on('message', (message: SpoolAnswer | OpeningWord) => {
      if (typeof message === 'string') return;
      const { n, answer } = message;
      this.#open.get(n)?.(answer);
      this.#open.delete(n);
    });
    this.process.on('exit', () => {
      for (const settle of this.#open.values()) settle('killed');
      this.#open.clear();
    });
  }

  started(): Promise<unknown> {
    return this.#answer(0, 'start');
  }

  /** 'killed' when the worker is gone before it answers. */
  async tell(command: SpoolCommand): Promise<unknown> {
    if (!this.process.connected) return 'killed';
    this.#last += 1;
    const answer = this.#answer(this.#last, command.do);
    this.process.send({ n: this.#last, command }, () => {});
    return answer;
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await ended;
  }

  #answer(n: number, what: string): Promise<unknown> {
    const answer = new Promise<unknown>((resolve) => this.#open.set(n, resolve));
    return within(answer, 20_000, `${what} in slot ${this.member.slot}`);
  }
}

class Group implements AsyncDisposable {
  readonly folder: TemporaryFolder = temporaryFolder();
  readonly workers = new Map<number, Worker>();
  readonly #execPath: (folder: TemporaryFolder) => string;
  readonly #openings = new Openings();
  #backends: readonly BackendSettings[] = [];
  #generation = 0;
  #change = 0;

  constructor(execPath: (folder: TemporaryFolder) => string = () => process.execPath) {
    this.#execPath = execPath;
  }

  at(slot: number): Worker {
    const worker = this.workers.get(slot);
    if (worker === undefined) throw new Error(`no worker in slot ${slot}`);
    return worker;
  }

  async start(...slots: readonly number[]): Promise<void> {
    for (const slot of slots) {
      this.#generation += 1;
      const execPath = this.#execPath(this.folder);
      const worker = new Worker(slot, this.#generation, this.folder.path, execPath);
      await Promise.all([worker.started(), this.#openings.next(worker.process)]);
      await worker.tell({ do: 'backends', backends: this.#backends });
      this.workers.set(slot, worker);
    }
    await this.announce();
  }

  async use(...backends: readonly BackendSettings[]): Promise<void> {
    this.#backends = backends;
    for (const worker of this.workers.values()) await worker.tell({ do: 'backends', backends });
  }

  async announce(): Promise<void> {
    this.#change += 1;
    const members = [...this.workers.values()].map(({ member }) => member);
    const command: SpoolCommand = { do: 'members', members, change: this.#change };
    for (const worker of this.workers.values()) await worker.tell(command);
  }

  async states(slot: number): Promise<readonly SpoolState[]> {
    // The child's own word for it.
    return (await this.at(slot).tell({ do: 'states' })) as readonly SpoolState[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.workers.values()) await worker.kill();
    this.folder[Symbol.dispose]();
  }
}

interface Received {
  readonly id: string;
  readonly device: string;
  readonly payload: string;
}

/** A backend that behaves as it is told to, and remembers what it has taken. */
class Backend implements AsyncDisposable {
  readonly taken: Received[] = [];
  requests = 0;
  /** How the next request goes; it is taken whatever becomes of the answer, unless it fails. */
  mood: () => 'well' | 'fails' | 'resets' | 'takes and resets' = () => 'well';
  readonly #server: Server;

  constructor() {
    this.#server = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        this.requests += 1;
        const mood = this.mood();
        if (mood === 'fails') {
          response.writeHead(500).end();
          return;
        }
        if (mood === 'resets') {
          incoming.socket.resetAndDestroy();
          return;
        }
        this.#take(
          String(incoming.headers['ce-id'] ?? ''),
          incoming.headers,
          Buffer.concat(chunks),
        );
        if (mood === 'well') response.writeHead(204).end();
        else incoming.socket.resetAndDestroy();
      });
    });
  }

  static async start(): Promise<Backend> {
    const backend = new Backend();
    backend.#server.listen(0, '127.0.0.1');
    await once(backend.#server, 'listening');
    return backend;
  }

  settings(changed: Partial<BackendSettings> = {}): BackendSettings {
    // It listens on TCP.
    const { port } = this.#server.address() as AddressInfo;
    return {
      spool: 'telemetry/backend',
      route: 'telemetry',
      match: 'devices/+/telemetry',
      url: `http://127.0.0.1:${port}/`,
      batch: 1,
      batchWaitMs: 20,
      timeoutMs: 2_000,
      requests: 8,
      retry: { minMs: 20, maxMs: 200 },
      messages: 100_000,
      bytes: 1_000_000_000,
      deadLetters: 100,
      tls: { ca: undefined, client: undefined },
      ...changed,
    };
  }

  #take(id: string, headers: Readonly<Record<string, unknown>>, body: Buffer): void {
    const deviceOf = (source: unknown): string => String(source).split('/').at(-1) ?? '';
    if (id !== '') {
      this.taken.push({ id, device: deviceOf(headers['ce-source']), payload: body.toString() });
      return;
    }
    // Made by the gateway.
    const events = JSON.parse(body.toString()) as {
      readonly id: string;
      readonly source: string;
      readonly data: unknown;
    }[];
    for (const { id: each, source, data } of events) {
      this.taken.push({ id: each, device: deviceOf(source), payload: String(data) });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** The payloads of a device in the order in which they were first taken. */
function firsts(taken: readonly Received[], device: string): number[] {
  return [
    ...new Set(taken.filter((one) => one.device === device).map(({ payload }) => payload)),
  ].map(Number);
}

for (const batch of [1, 20]) {
  test(`workers are killed and the backend fails: all that was acknowledged arrives, in order (batch ${batch})`, async () => {
    await using backend = await Backend.start();
    await using group = new Group();
    await group.use(backend.settings({ batch }));
    await group.start(0, 1, 2);
    let turn = 0;
    const moods = ['well', 'well', 'fails', 'well', 'resets', 'well', 'takes and resets'] as const;
    backend.mood = () => {
      turn += 1;
      return moods[turn % moods.length] ?? 'well';
    };
    const acknowledged = new Map<string, number[]>();
    let stop = false;
    /** The next one is given, to another worker, when this one has been acknowledged. */
    const device = async (name: string, begin: number): Promise<void> => {
      const own: number[] = [];
      acknowledged.set(name, own);
      for (let i = 1; !stop; i += 1) {
        const worker = group.workers.get((begin + i) % 3);
        const outcome = await worker?.tell({ do: 'publish', device: name, payload: `${i}` });
        if (outcome === 'spooled') own.push(i);
        // Nobody in this slot for the moment.
        else await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const devices = Array.from({ length: 6 }, (_, i) => device(`d${i}`, i));
    for (const victim of [1, 0, 2]) {
      const before = backend.requests;
      await until('some requests', 20_000, () => backend.requests > before + 20);
      await group.at(victim).kill();
      group.workers.delete(victim);
      await group.announce();
      await group.start(victim);
    }
    stop = true;
    await Promise.all(devices);
    backend.mood = () => 'well';
    await until('an empty spool', 30_000, async () => (await group.states(0))[0]?.waiting === 0);

    let total = 0;
    for (const [name, own] of acknowledged) {
      const arrived = firsts(backend.taken, name);
      assert.deepEqual(
        arrived,
        arrived.toSorted((a, b) => a - b),
        `${name} in order`,
      );
      const there = new Set(arrived);
      for (const each of own) assert.ok(there.has(each), `${name} ${each} was acknowledged`);
      total += own.length;
    }
    assert.ok(total > 50, `${total} messages`);
    const ids = new Map<string, string>();
    for (const { id, device: name, payload } of backend.taken) {
      const known = ids.get(`${name} ${payload}`) ?? id;
      assert.equal(known, id, `${name} ${payload} came under two ids`);
      ids.set(`${name} ${payload}`, id);
    }
    assert.equal(new Set(ids.values()).size, ids.size, 'no two messages share an id');
  });
}

test('everything is killed while the backend is down: the spool has it, and its bound knows of it', async () => {
  await using backend = await Backend.start();
  await using group = new Group();
  await group.use(backend.settings({ messages: 500 }));
  backend.mood = () => 'fails';
  await group.start(0, 1);
  const flood = (slot: number) => group.at(slot).tell({ do: 'flood', messages: 200, bytes: 200 });
  assert.deepEqual(await flood(0), { spooled: 200, unavailable: 0 });
  assert.deepEqual(await flood(1), { spooled: 200, unavailable: 0 });
  for (const worker of group.workers.values()) await worker.kill();
  group.workers.clear();
  await group.start(0, 1);
  assert.equal((await group.states(1))[0]?.waiting, 400);
  assert.deepEqual(await flood(0), { spooled: 100, unavailable: 100 });
  await until('the other worker to know', 30_000, async () => {
    const outcome = await group.at(1).tell({ do: 'publish', device: 'd1', payload: '1' });
    return outcome === 'unavailable';
  });
  backend.mood = () => 'well';
  await until('an empty spool', 30_000, async () => (await group.states(0))[0]?.waiting === 0);
  const waited = new Set(backend.taken.map(({ id }) => id)).size;
  assert.ok(waited >= 500 && waited < 520, `${waited}: an overshoot of what came within 50 ms`);
});

test('a disk that is full makes messages unavailable, and what was taken is delivered once it has room', async () => {
  await using backend = await Backend.start();
  let full = true;
  // A limit on the size of files is the full disk that one can have without being root. Blocks of 512 bytes.
  await using group = new Group((folder) => {
    if (!full) return process.execPath;
    const limited = folder.at('limited-node');
    writeFileSync(
      limited,
      `#!/bin/sh\ntrap '' XFSZ\nulimit -f 8192\nexec ${process.execPath} "$@"\n`,
    );
    chmodSync(limited, 0o700);
    return limited;
  });
  await group.use(backend.settings());
  backend.mood = () => 'fails';
  await group.start(0);
  let spooled = 0;
  await until('a full disk', 20_000, async () => {
    const outcome = (await group.at(0).tell({ do: 'flood', messages: 20, bytes: 20_000 })) as {
      readonly spooled: number;
      readonly unavailable: number;
    };
    spooled += outcome.spooled;
    assert.equal(outcome.spooled + outcome.unavailable, 20);
    return outcome.unavailable > 0;
  });
  assert.ok(spooled > 50, `${spooled}`);
  assert.equal((await group.states(0))[0]?.waiting, spooled);
  // Without any room not even what was delivered can be removed: that is what the reserve is for, which is not here.
  await group.at(0).kill();
  group.workers.clear();
  full = false;
  backend.mood = () => 'well';
  await group.start(0);
  await until('an empty spool', 30_000, async () => (await group.states(0))[0]?.waiting === 0);
  assert.equal(new Set(backend.taken.map(({ id }) => id)).size, spooled);
  const again = await group.at(0).tell({ do: 'flood', messages: 20, bytes: 20_000 });
  assert.deepEqual(again, { spooled: 20, unavailable: 0 });
});
