import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const module = pathToFileURL(join(import.meta.dirname, 'json-logger.ts')).href;

/** Messages that a process wrote which does this with its `logger`, in order. */
async function loggedBy(code: string): Promise<string[]> {
  const script = [
    `import { jsonLogger } from ${JSON.stringify(module)};`,
    `const logger = jsonLogger({ process: 'test' });`,
    code,
  ].join('\n');
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.setEncoding('utf8');
  for await (const part of child.stderr as AsyncIterable<string>) {
    text += part;
    // What waits for this has a process that would not end by itself.
    if (text.endsWith('\n')) child.stdin.end();
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => String(Reflect.get(JSON.parse(line), 'msg')));
}

const hundred = Array.from({ length: 100 }, (_, n) => `line ${n}`);
const logHundred = 'for (let n = 0; n < 100; n += 1) logger.info({}, `line ${n}`);';

test('what was logged just before an exit is written, in order', async () => {
  assert.deepEqual(await loggedBy(`${logHundred} process.exit(0);`), hundred);
});

test('more than is gathered, and what comes after it, is written once and in order', async () => {
  const lines = Array.from({ length: 1_000 }, (_, n) => `line ${n}`);
  const code = [
    'for (let n = 0; n < 900; n += 1) logger.info({}, `line ${n}`);',
    'setImmediate(() => {',
    '  for (let n = 900; n < 1_000; n += 1) logger.info({}, `line ${n}`);',
    '  process.exit(0);',
    '});',
  ].join('\n');
  assert.deepEqual(await loggedBy(code), lines);
});

test('a fatal line and all before it are written before the next step', async () => {
  const code = `${logHundred} logger.fatal({}, 'end'); process.kill(process.pid, 'SIGKILL');`;
  assert.deepEqual(await loggedBy(code), [...hundred, 'end']);
});

test('a process that lives on writes what it has logged', async () => {
  // Ends when its standard input does, which is when the line has been seen.
  const code = `logger.info({}, 'alive'); process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL')).resume();`;
  assert.deepEqual(await loggedBy(code), ['alive']);
});

test('a line below the level is not written', async () => {
  const code = `logger.debug({}, 'no'); logger.setLevel('debug'); logger.debug({}, 'yes');`;
  assert.deepEqual(await loggedBy(code), ['yes']);
});
