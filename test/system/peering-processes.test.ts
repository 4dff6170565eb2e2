/** Workers as processes of their own: what they promise each other when one of them is killed. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import type { Member } from '../../src/common/ipc/messages.ts';
import { homeOf } from '../../src/worker/peering/rendezvous.ts';
import type { PeeringAnswer, PeeringCommand } from '../harness/peering-child.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';
import { until, within } from '../harness/waiting.ts';

const child = new URL('../harness/peering-child.ts', import.meta.url).pathname;

class Worker {
  readonly member: Member;
  readonly process: ChildProcess;
  readonly #open = new Map<number, (answer: unknown) => void>();
  #last = 0;

  constructor(slot: number, generation: number, folder: string) {
    this.process = fork(child, [`${slot}`, `${generation}`], { cwd: folder });
    this.member = { slot, generation, pid: this.process.pid ?? 0 };
    this.process.on('message', ({ n, answer }: PeeringAnswer) => {
      this.#open.get(n)?.(answer);
      this.#open.delete(n);
    });
  }

  started(): Promise<unknown> {
    return this.#answer(0, 'start');
  }

  tell(command: PeeringCommand): Promise<unknown> {
    this.#last += 1;
    const answer = this.#answer(this.#last, command.do);
    this.process.send({ n: this.#last, command });
    return answer;
  }

  async kill(): Promise<void> {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await ended;
  }

  #answer(n: number, what: string): Promise<unknown> {
    const answer = new Promise<unknown>((resolve) => this.#open.set(n, resolve));
    return within(answer, 30_000, `${what} in slot ${this.member.slot}`);
  }
}

class Group implements AsyncDisposable {
  readonly folder: TemporaryFolder = temporaryFolder();
  readonly workers = new Map<number, Worker>();
  #generation = 0;
  #change = 0;

  static async of(...slots: readonly number[]): Promise<Group> {
    const group = new Group();
    await Promise.all(slots.map((slot) => group.start(slot)));
    await group.announce();
    return group;
  }

  at(slot: number): Worker {
    const worker = this.workers.get(slot);
    if (worker === undefined) throw new Error(`no worker in slot ${slot}`);
    return worker;
  }

  async start(slot: number): Promise<void> {
    this.#generation += 1;
    const worker = new Worker(slot, this.#generation, this.folder.path);
    this.workers.set(slot, worker);
    await worker.started();
  }

  async announce(): Promise<void> {
    this.#change += 1;
    const members = [...this.workers.values()].map(({ member }) => member);
    const command: PeeringCommand = { do: 'members', members, change: this.#change };
    await Promise.all([...this.workers.values()].map((worker) => worker.tell(command)));
  }

  async kill(slot: number): Promise<void> {
    await this.at(slot).kill();
    this.workers.delete(slot);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.workers.values()) await worker.kill();
    this.folder[Symbol.dispose]();
  }
}

const claim = (device: string, clientId: string): PeeringCommand => ({
  do: 'claim',
  device,
  clientId,
});

function deviceAt(home: number, slots: readonly number[]): string {
  for (let i = 0; ; i += 1) {
    if (homeOf(`device/h${i}`, slots) === home) return `h${i}`;
  }
}

test('the twelfth message is refused however it is spread over processes', async () => {
  await using group = await Group.of(0, 1, 2);
  let passed = 0;
  for (let i = 0; i < 15; i += 1) {
    const worker = group.at(i % 3);
    const key = await worker.tell(claim('d1', 'c'));
    assert.equal(key, 'device/d1 c');
    passed += Number(await worker.tell({ do: 'take', key: 'device/d1 c', times: 1 }));
    if (i % 2 === 0) await worker.tell({ do: 'release', key: 'device/d1 c' });
  }
  assert.equal(passed, 11);
  const two = [group.at(0), group.at(1)];
  for (const [i, worker] of two.entries()) await worker.tell(claim('d2', `c${i}`));
  const outcomes = await Promise.all(
    two.map((worker, i) => worker.tell({ do: 'take', key: `device/d2 c${i}`, times: 10 })),
  );
  assert.equal(
    outcomes.reduce((sum: number, each) => sum + Number(each), 0),
    11,
  );
});

test('kill -9 of any worker: its sessions are free again, the others keep theirs, their owners and their limits', async () => {
  for (const victim of [0, 1, 2]) {
    await using group = await Group.of(0, 1, 2);
    const keeper = (victim + 1) % 3;
    const heir = (victim + 2) % 3;
    // One identity whose home dies, one whose home lives on.
    for (const home of [victim, keeper]) {
      const device = deviceAt(home, [0, 1, 2]);
      await group.at(keeper).tell(claim(device, 'kept'));
      await group.at(keeper).tell({ do: 'take', key: `device/${device} kept`, times: 5 });
    }
    const lost = deviceAt(heir, [0, 1, 2]);
    for (const clientId of ['a', 'b', 'c']) await group.at(victim).tell(claim(lost, clientId));
    assert.equal(await group.at(heir).tell(claim(lost, 'd')), 'quota');
    await group.kill(victim);
    await group.announce();
    assert.equal(await group.at(heir).tell(claim(lost, 'd')), `device/${lost} d`);
    for (const home of [victim, keeper]) {
      const device = deviceAt(home, [0, 1, 2]);
      assert.equal(await group.at(heir).tell(claim(device, 'kept')), `device/${device} kept`);
      const takenOver = await group.at(keeper).tell({ do: 'taken-over' });
      assert.ok(Array.isArray(takenOver) && takenOver.includes(`device/${device} kept`));
      const key = `device/${device} kept`;
      assert.equal(await group.at(heir).tell({ do: 'take', key, times: 20 }), 6, `home ${home}`);
    }
    await group.start(victim);
    await group.announce();
    const again = await group.at(victim).tell(claim(lost, 'd'));
    assert.equal(again, `device/${lost} d`);
    const sockets = readdirSync(group.folder.path);
    assert.equal(sockets.length, 3, `a killed worker's socket stayed behind: ${sockets.join()}`);
  }
});

test('from its SUBACK on a subscriber gets what any worker publishes; a killed subscriber is soon nobody', async () => {
  await using group = await Group.of(0, 1, 2);
  await group.at(2).tell({ do: 'subscribe', filter: 'devices/+/telemetry' });
  const topics = Array.from({ length: 500 }, (_, i) => `devices/d${i}/telemetry`);
  for (const slot of [0, 1]) {
    const counts = await group.at(slot).tell({ do: 'publish', topics });
    assert.deepEqual(
      counts,
      topics.map(() => 1),
    );
  }
  await until('all messages', 30_000, async () => {
    const received = await group.at(2).tell({ do: 'received' });
    return Array.isArray(received) && received.length === 2 * topics.length;
  });
  await group.kill(2);
  await until('no subscriber', 30_000, async () => {
    const counts = await group.at(0).tell({ do: 'publish', topics: ['devices/d1/telemetry'] });
    return Array.isArray(counts) && counts[0] === 0;
  });
});

test(
  'a home that is stopped lets claims fail, and none succeed twice',
  { timeout: 120_000 },
  async () => {
    await using group = await Group.of(0, 1);
    const device = deviceAt(0, [0, 1]);
    assert.equal(await group.at(1).tell(claim(device, 'c')), `device/${device} c`);
    group.at(0).process.kill('SIGSTOP');
    const started = performance.now();
    assert.equal(await group.at(1).tell(claim(device, 'c')), 'busy');
    const tookMs = performance.now() - started;
    assert.ok(tookMs > 2_900, `${tookMs} ms`);
    assert.deepEqual(await group.at(1).tell({ do: 'taken-over' }), []);
    group.at(0).process.kill('SIGCONT');
    assert.equal(await group.at(1).tell(claim(device, 'c')), `device/${device} c`);
    assert.deepEqual(await group.at(1).tell({ do: 'taken-over' }), [`device/${device} c`]);
  },
);
