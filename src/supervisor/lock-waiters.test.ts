import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../../test/harness/waiting.ts';
import { wakeLockWaiters } from './lock-waiters.ts';
import { processLoad } from './process-stat.ts';

/** A thread that sleeps on a futex whose word is changed without a wake-up, as a lock is whose next holder was killed. */
const sleeper = `
import ctypes, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
word = ctypes.c_int(1)
SYS_futex = {'x86_64': 202, 'aarch64': 98}[__import__('platform').machine()]
def wait():
    libc.syscall(SYS_futex, ctypes.byref(word), 0, 1, None, None, 0)
    print('awake', flush=True)
waiter = threading.Thread(target=wait)
waiter.start()
print('started', flush=True)
sys.stdin.readline()
word.value = 0
print('free', flush=True)
waiter.join()
`;

/** All its threads; the first is looked at first, and what the others wait for is not in its hands then. */
function sleeps({ pid }: ChildProcess): boolean {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const states = tasks.map(
    (task) => /\) (.)/.exec(readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8'))?.[1],
  );
  return states.length === 2 && states.every((state) => state === 'S');
}

test('a process that sleeps before a lock that is free wakes up, and goes on', async (t) => {
  const child = spawn('python3', ['-c', sleeper], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until('it sleeps', 20_000, () => said.includes('started') && sleeps(child));
  child.stdin.write('\n');
  await until('the word is 0', 20_000, () => said.includes('free'));
  assert.doesNotMatch(said, /awake/);
  // Where the machine is busy it may have to be tried again, and says so.
  await until('it has stopped', 20_000, () => wakeLockWaiters([{ child }]).length === 0);
  await until('it is awake', 20_000, () => said.includes('awake'));
  if (child.exitCode === null) await once(child, 'exit');
});

test('who has ended, and was not asked how, is not waited for', async (t) => {
  const program = `
import os, sys
pid = os.fork()
if pid == 0: os._exit(0)
print(pid, flush=True)
sys.stdin.readline()
`;
  const parent = spawn('python3', ['-c', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => parent.kill('SIGKILL'));
  const [chunk] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(chunk.toString());
  await until('it has ended', 20_000, () => processLoad(pid)?.ended === true);
  assert.deepEqual(wakeLockWaiters([{ child: { pid } }]), []);
});

test('who was stopped by somebody else stays so, and who is gone is passed over', async (t) => {
  const child = spawn('sleep', ['60']);
  t.after(() => child.kill('SIGKILL'));
  const { pid } = child;
  assert.ok(pid !== undefined);
  child.kill('SIGSTOP');
  await until('it is stopped', 20_000, () => processLoad(pid)?.stopped === true);
  const gone = { pid: 2 ** 22 + 1 };
  assert.deepEqual(wakeLockWaiters([{ child }, { child: gone }, { child: {} }]), []);
  assert.equal(processLoad(pid)?.stopped, true);
});
