/**
 * The README's "Five minutes", as a reader goes through them: the lines of its code blocks, pasted one after the other
 * into a shell in a fresh clone. As root that is done in a network of its own, because the tour's ports are fixed.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { repositoryRoot } from '../harness/cli.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { Terminal } from '../harness/terminal.ts';
import { until } from '../harness/waiting.ts';

/** Of the backend, the listeners that are on by default and the admin API. */
const ports = [9000, 8883, 8443, 8447, 8080, 9443];
const ownNetwork = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

const folder = temporaryFolder();
after(() => {
  // What a tour that failed leaves running.
  for (const pid of processesIn(folder.path)) process.kill(pid, 'SIGKILL');

  folder[Symbol.dispose]();
});

/** What a clone of this tree would have, and what `npm start` would install into it. */
function makeClone(): string {
  const clone = folder.at('clone');
  mkdirSync(clone);
  const git = ['ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  const files = execFileSync('git', git, { cwd: repositoryRoot, encoding: 'utf8' })
    .split('\0')
    .filter((file) => file !== '' && existsSync(join(repositoryRoot, file)));
  const archive = execFileSync('tar', ['-c', '--null', '-T', '-'], {
    cwd: repositoryRoot,
    input: files.join('\0'),
    maxBuffer: 1024 * 1024 * 1024,
  });
  execFileSync('tar', ['-x', '-C', clone], { input: archive });
  const modules = [join(repositoryRoot, 'node_modules'), join(clone, 'node_modules')];
  // Links where the file system can, so that it costs no time.
  const linked = spawnSync('cp', ['-al', ...modules], { stdio: 'ignore' });
  if (linked.status !== 0) {
    spawnSync('rm', ['-rf', join(clone, 'node_modules')]);
    execFileSync('cp', ['-a', ...modules]);
  }
  return clone;
}

/** The lines of every `sh` block of the section. */
function tourLines(): readonly string[] {
  const readme = readFileSync(join(repositoryRoot, 'README.md'), 'utf8');
  const [, section = ''] = /^## Five minutes$(.*?)^## /ms.exec(readme) ?? [];
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
    block.split('\n').filter((line) => line !== ''),
  );
}

async function network(): Promise<readonly string[]> {
  const [program, ...args] = [...ownNetwork, 'true'];
  if (spawnSync(program, args, { stdio: 'ignore' }).status === 0) return ownNetwork;
  for (const port of ports) await assertFree(port);
  return [];
}

function assertFree(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', () =>
      reject(new Error(`the tour needs port ${port}: free it, or run this test as root`)),
    );
    server.listen(port, '127.0.0.1', () => server.close(() => resolve()));
  });
}

/** Whatever runs in the folder. */
function processesIn(path: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(path);
      } catch {
        return false;
      }
    });
}

test('the tour of the README works as it is written, line by line', async () => {
  const clone = makeClone();
  const before = readdirSync(clone).toSorted();
  // A reader's own node and npm, not those that npm put in front when it ran this test.
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((each) => !each.includes('node_modules'))
    .join(delimiter);
  await using terminal = await Terminal.open({
    cwd: clone,
    env: { PATH: path },
    under: await network(),
  });
  const lines = [...tourLines()];
  /** Pastes up to and including the first line that matches. @returns what the last one has shown. */
  const pasteTo = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const line = lines.shift();
      assert.ok(line !== undefined, `no line of the tour matches ${pattern.toString()}`);
      const shown = await terminal.paste(line);
      assert.doesNotMatch(shown, /command not found|No such file|Traceback|\n\s+at .*:\d+/, line);
      if (pattern.test(line)) return shown;
    }
  };

  const banner = await pasteTo(/until test -f data\/run\.json/);
  assert.match(banner, /8883/);
  assert.match(banner, /8443/);
  await terminal.shows(/backend on http:\/\/127\.0\.0\.1:9000\//);

  assert.match(await pasteTo(/device create d1 d2/), /d1[^]*d2/);
  assert.match(await pasteTo(/service create be/), /be/);

  await pasteTo(/mosquitto_sub .*devices\/\+\/telemetry/);
  // The tour gives it a second; on a busy machine that may be too short.
  await until('mosquitto_sub has connected', 60_000, () =>
    readFileSync(join(clone, 'gateway.log'), 'utf8')
      .split('\n')
      .some((line) => line.includes('"service/be"') && line.includes('"connected"')),
  );
  await pasteTo(/curl .*"temperature":22\.7/);
  await terminal.shows(/^backend: devices\/d1\/telemetry \{"temperature":22\.7\} /m);
  await terminal.shows(/^devices\/d1\/telemetry \{"temperature":22\.7\}$/m);
  await pasteTo(/mosquitto_pub .*19\.5/);
  await terminal.shows(/^backend: devices\/d2\/telemetry \{"temperature":19\.5\} /m);
  await terminal.shows(/^devices\/d2\/telemetry \{"temperature":19\.5\}$/m);

  assert.match(await pasteTo(/curl .*"warm"/), /"status":422,"code":"schema"\}\n/);
  const judged = await pasteTo(/policy test --as device\/d1 publish devices\/d2\/telemetry/);
  assert.match(judged, /deny \(forbidden\)/);
  assert.match(judged, /no rule of role "device" lets it publish devices\/d2\/telemetry/);

  assert.match(await pasteTo(/command send d1 reboot/), /reboot|d1/);
  assert.match(
    await pasteTo(/curl .*\/api\/v1\/commands\?wait=25/),
    /\[\{"id":"[^"]+","topic":"devices\/d1\/commands\/reboot","payload":\{"in":"5s"\},"at":"[^"]+"\}\]\n/,
  );
  assert.match(
    await pasteTo(/mosquitto_sub .*commands\/#/),
    /^devices\/d1\/commands\/reboot \{"in":"5s"\}$/m,
  );

  const fleet = await pasteTo(/simulate --devices 20/);
  assert.match(fleet, /devices +20 \(10 mqtts, 10 https\)\n/);
  const sent = /^sent +(\d+) /m.exec(fleet)?.[1];
  const acknowledged = /^acknowledged +(\d+)/m.exec(fleet)?.[1];
  assert.ok(sent !== undefined && Number(sent) > 50 && acknowledged === sent, fleet);

  await pasteTo(/device revoke d1/);
  const at = terminal.screen.length;
  assert.match(await pasteTo(/curl .*22\.7/), /"status":403,"code":"standing"\}\n/);
  await pasteTo(/mosquitto_pub .*19\}/);
  await terminal.shows(/^backend: devices\/d2\/telemetry \{"temperature":19\} /m, at);

  assert.match(await pasteTo(/device list/), /d1 .*revoked[^]*d2 .*active/);
  assert.match(await pasteTo(/audit-log show/), / revoke +device\/d1 +.*"stolen on site 7"/);
  assert.match(await pasteTo(/audit-log verify/), /^\d+ lines, all as written\.$/m);
  assert.doesNotMatch(terminal.screen.slice(at), /^backend: devices\/d1\//m);

  const ended = await pasteTo(/^kill /);
  assert.deepEqual(lines, [], 'lines of the tour that nobody looked at');
  assert.doesNotMatch(ended, /No such process|no such job|cannot remove/);
  assert.deepEqual(readdirSync(clone).toSorted(), before, 'files that the tour left behind');
  await terminal.leave();
  await until('the end of everything that the tour started', 20_000, () => {
    return processesIn(clone).length === 0;
  });
});
