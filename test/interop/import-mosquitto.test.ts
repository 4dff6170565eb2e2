/**
 * What `policy import-mosquitto` makes of an ACL file, against the broker that the file was written for: the same
 * questions to a mosquitto and to `policy test`.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect as netConnect } from 'node:net';
import { test } from 'node:test';
import { MqttClient } from 'mqtt';
import { runCommandLine } from '../../src/cli/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { listensAt } from '../harness/unix-socket.ts';
import { until, within } from '../harness/waiting.ts';

const limitMs = 60_000;

const acl = `# public, for clients without a name
topic read public/#

user alice
topic readwrite home/#
topic deny home/alarm/#
topic read with space/and more
topic write devices/bob/state

user bob
topic devices/bob/#
topic deny devices/bob/secret
topic read +/status

user carol smith
topic write carol/#

user dave
topic read fleet/secret

user admin
topic readwrite #

pattern readwrite devices/%u/#
pattern read fleet/#
pattern deny fleet/secret
pattern write by-client/%c/x
pattern write glued-%u/x
pattern deny devices/%u/factory
pattern read %u
`;

/** Whom each of them is after the import. */
const clients: readonly { readonly user: string; readonly as: readonly string[] }[] = [
  { user: 'alice', as: ['service/alice', '--role', 'alice'] },
  { user: 'bob', as: ['service/bob', '--role', 'bob'] },
  { user: 'carol smith', as: ['service/carol-smith', '--role', 'carol-smith'] },
  { user: 'dave', as: ['service/dave', '--role', 'dave'] },
  { user: 'd1', as: ['device/d1'] },
  { user: 'd2', as: ['device/d2'] },
  // The name of a user with a section of its own, in the hands of a device.
  { user: 'bob', as: ['device/bob'] },
];

const topics = [
  'public/a',
  'home',
  'home/a/b',
  'home/alarm',
  'home/alarm/x',
  'with space/and more',
  'devices/bob/state',
  'devices/bob/secret',
  'devices/bob/factory',
  'devices/bob',
  'devices/d1/x',
  'devices/d1/factory',
  'devices/d2/x',
  'devices/carol smith/x',
  'devices//x',
  'kitchen/status',
  '/status',
  'carol/x',
  'fleet',
  'fleet/a',
  'fleet/secret',
  'by-client/d1/x',
  'glued-d1/x',
  'd1',
  'alice',
  '/',
];

/** Where the import is narrower, as it says. All the rest is the same on both sides. */
const narrower: readonly string[] = [
  // %c, and an id inside of a level.
  'device/d1 publish by-client/d1/x',
  'device/d1 publish glued-d1/x',
  // A denied pattern wins over the section of the user.
  'service/dave subscribe fleet/secret',
  'service/bob publish devices/bob/factory',
  'service/bob subscribe devices/bob/factory',
  // A device of that name has the patterns only.
  'device/bob publish devices/bob/factory',
  'device/bob subscribe devices/bob/factory',
  'device/bob subscribe kitchen/status',
  'device/bob subscribe /status',
];

test('mosquitto allows whatever the imported policy allows, and refuses what is not listed as narrower', async () => {
  using folder = temporaryFolder();
  const conf = folder.at('mosquitto.conf');
  const socket = folder.at('mqtt.sock');
  writeFileSync(folder.at('acl'), acl);
  writeFileSync(
    conf,
    // Its own user could not read a folder of mode 0700.
    `user root\nlistener 0 ${socket}\nallow_anonymous true\nacl_file ${folder.at('acl')}\n`,
  );
  const out = folder.at('sallyport.yaml');
  await sallyport('import-mosquitto', conf, '--out', out);

  await using broker = await mosquitto(conf, socket);
  const theirs = await askMosquitto(broker.socket);
  const differences: string[] = [];
  for (const { user, as } of clients) {
    for (const topic of topics) {
      for (const action of ['publish', 'subscribe'] as const) {
        const question = `${as[0] ?? ''} ${action} ${topic}`;
        const answer = await sallyport(
          'test',
          '--as',
          ...as,
          action,
          topic,
          '--config',
          out,
          '--json',
        );
        // `policy test --json` says so.
        const { allowed } = JSON.parse(answer) as { readonly allowed: boolean };
        const allowedThere = theirs.has(`${user} ${action} ${topic}`);
        assert.ok(!allowed || allowedThere, `mosquitto refuses: ${question}`);
        if (allowed !== allowedThere) differences.push(question);
      }
    }
  }
  assert.deepEqual(differences.toSorted(), narrower.toSorted());
});

async function sallyport(...args: readonly string[]): Promise<string> {
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: undefined,
  };
  assert.equal(await runCommandLine(['policy', ...args], terminal, '0.1.0'), 0, err);
  return out;
}

async function mosquitto(
  conf: string,
  socket: string,
): Promise<AsyncDisposable & { readonly socket: string }> {
  const child = spawn('mosquitto', ['-c', conf], { stdio: ['ignore', 'ignore', 'pipe'] });
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await until('the socket of mosquitto', limitMs, () => {
    assert.equal(child.exitCode, null, output);
    return listensAt(socket);
  });
  return {
    socket,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await within(closed, limitMs, 'the end of mosquitto');
      process.off('exit', end);
    },
  };
}

/** `user action topic` of everything that it allows. */
async function askMosquitto(socket: string): Promise<ReadonlySet<string>> {
  const allowed = new Set<string>();
  await using admin = await connect(socket, 'admin');
  for (const user of new Set(clients.map((client) => client.user))) {
    await using client = await connect(socket, user);
    for (const topic of topics) {
      try {
        await client.mqtt.publishAsync(topic, 'written', { qos: 1 });
        allowed.add(`${user} publish ${topic}`);
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error, String(error));
        assert.equal(error.code, 0x87);
      }
    }
    client.mqtt.on('message', (topic, payload) => {
      if (payload.toString() === `read ${user}`) allowed.add(`${user} subscribe ${topic}`);
    });
    // It lets everyone subscribe to everything and judges each message.
    await client.mqtt.subscribeAsync('#', { qos: 1 });
    for (const topic of topics) {
      await admin.mqtt.publishAsync(topic, `read ${user}`, { qos: 1 });
    }
    // Its answer comes after the messages that were on their way.
    await client.mqtt.unsubscribeAsync('#');
  }
  return allowed;
}

async function connect(
  socket: string,
  username: string,
): Promise<AsyncDisposable & { readonly mqtt: MqttClient }> {
  const mqtt = new MqttClient(() => netConnect(socket), {
    username,
    clientId: username.replace(' ', '-'),
    protocolVersion: 5,
    reconnectPeriod: 0,
  });
  const connected = new Promise<void>((resolve, reject) => {
    mqtt.once('connect', () => resolve());
    mqtt.once('error', reject);
    mqtt.once('close', () => reject(new Error(`${username}: closed`)));
  });
  await within(connected, limitMs, `CONNACK for ${username}`);
  mqtt.on('error', () => {});
  return { mqtt, [Symbol.asyncDispose]: () => mqtt.endAsync(true) };
}
