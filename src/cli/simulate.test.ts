import assert from 'node:assert/strict';
import { after, beforeEach, mock, test } from 'node:test';
import { CommandLine } from '../../test/harness/command-line.ts';
import { Progress } from './fleet-progress.ts';
import { limitIn, openFilesLimit } from './open-files.ts';

const line = await CommandLine.start();
after(() => line[Symbol.dispose]());

beforeEach(() => {
  line.renew();
});

const simulate = (...args: readonly string[]) => line.run('simulate', ...args);

function listeningOn(...names: readonly string[]): void {
  const listeners = Object.fromEntries(names.map((name) => [name, { host: '127.0.0.1', port: 1 }]));
  const status = { ...line.services.status(), listeners };
  Object.defineProperty(line.services, 'status', { value: () => status, configurable: true });
}

test('what makes no sense is refused before anything is enrolled', async () => {
  for (const [args, says] of [
    [['--devices', '0'], /--devices 0 is not a number from 1 to 5000; .*--prefix/],
    [['--devices', '5001'], /--devices 5001 is not a number from 1 to 5000; .*--prefix/],
    [['--devices', '1e3'], /--devices 1e3 is not/],
    [['--seconds', '0'], /--seconds 0 is not/],
    [['--messages', '-1'], /--messages -1 is not/],
    [['--rate', '5'], /"5" is no rate; write it like 1\/5s/],
    [['--protocol', 'mqtts,coaps'], /"coaps" is no protocol; use mqtts or https/],
    [['--protocol', ''], /"" is no protocol/],
    [['--prefix', '../'], /is not a valid device id/],
  ] as const) {
    const { code, out, err } = await simulate(...args);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, /^error: [^\n]+\n$/);
    assert.match(err, says);
  }
  assert.deepEqual(line.services.calls, []);
});

test('a listener that is not there cannot be asked for', async () => {
  listeningOn('mqtts', 'admin');
  assert.deepEqual(await simulate('--protocol', 'mqtts,https'), {
    code: 1,
    out: '',
    err: 'error: the gateway does not listen for https; switch the listener on in its configuration, or use --protocol with one of: mqtts\n',
  });
  listeningOn('admin');
  assert.match(
    (await simulate()).err,
    /^error: the gateway does not listen for devices; .*: none\n$/,
  );
  assert.deepEqual(line.services.calls, []);
});

test('the limit of open files is the one in force', () => {
  const limits = `Limit                     Soft Limit           Hard Limit           Units     \n`;
  assert.equal(
    limitIn(`${limits}Max open files            1024                 524288     files \n`),
    1024,
  );
  assert.equal(
    limitIn(`${limits}Max open files            unlimited            unlimited  files \n`),
    Infinity,
  );
  assert.equal(limitIn(''), Infinity);
  assert.ok(openFilesLimit() > 100);
});

test('progress is written over on a terminal, and leaves nothing behind', () => {
  mock.timers.enable({ apis: ['setInterval'] });
  try {
    let written = '';
    const terminal = { out: () => {}, err: (text: string) => void (written += text), uid: 0 };
    let text: string | undefined;
    {
      using _ = new Progress({ ...terminal, liveColumns: () => 10 }, () => text);
      mock.timers.tick(500);
      text = 'a line that is too long';
      mock.timers.tick(500);
      assert.equal(written, '\r\u001b[2Ka line th');
    }
    assert.equal(written, '\r\u001b[2Ka line th\r\u001b[2K');
    mock.timers.tick(5_000);
    assert.equal(written, '\r\u001b[2Ka line th\r\u001b[2K');

    written = '';
    {
      using _ = new Progress(terminal, () => text);
      mock.timers.tick(10_000);
    }
    assert.equal(written, 'a line that is too long\na line that is too long\n');
  } finally {
    mock.timers.reset();
  }
});
