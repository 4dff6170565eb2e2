import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
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

test('a process that sleeps before a lock that is free wakes up, and goes on', async (t) => {
  const child = spawn('python3', ['-c', sleeper], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const asleep = (): boolean => processLoad(child.pid ?? 0)?.busy === false;
  await until('the thread sleeps', 20_000, () => said.includes('started') && asleep());
  child.stdin.write('\n');
  await until('the word is 0', 20_000, () => said.includes('free') && asleep());
  assert.doesNotMatch(said, /awake/);
  wakeLockWaiters([child.pid ?? 0]);
  await until('it is awake', 20_000, () => said.includes('awake'));
  if (child.exitCode === null) await once(child, 'exit');
});

test('who was stopped by somebody else stays so, and who is gone is passed over', async (t) => {
  const child = spawn('sleep', ['60']);
  t.after(() => child.kill('SIGKILL'));
  const { pid } = child;
  assert.ok(pid !== undefined);
  child.kill('SIGSTOP');
  await until('it is stopped', 20_000, () => processLoad(pid)?.stopped === true);
  wakeLockWaiters([pid, 2 ** 22 + 1]);
  assert.equal(processLoad(pid)?.stopped, true);
});
