/**
 * Aedes behind mutual TLS with the rules that the other brokers have, as a process of its own. The argument is JSON:
 * `{port, key, chain, clientRoot}`, the last three files.
 */
import { readFileSync } from 'node:fs';
import { createServer, TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import type { AedesServerSettings } from './aedes.ts';

// What `Aedes` in aedes.ts wrote.
const settings = JSON.parse(process.argv[2] ?? '') as AedesServerSettings;

const deviceTopics = ['telemetry', 'status', 'diagnostics', 'command_responses'];
const service = 'be';

/** By client: the name in its certificate. */
const names = new WeakMap<object, string>();

function refuse(): Error {
  return new Error('forbidden');
}

const broker = await Aedes.createBroker({
  concurrency: 1_000,
  queueLimit: 1_000_000,
  authenticate: (client, _user, _password, done) => {
    const { conn } = client;
    const common = conn instanceof TLSSocket ? conn.getPeerCertificate().subject.CN : undefined;
    const name = typeof common === 'string' ? common : undefined;
    if (name !== undefined) names.set(client, name);
    done(null, name !== undefined);
  },
  authorizePublish: (client, { topic }, done) => {
    const name = client === null ? undefined : names.get(client);
    const [space, id, channel = ''] = topic.split('/');
    const own = space === 'devices' && id === name && deviceTopics.includes(channel);
    const command = space === 'devices' && name === service && channel === 'commands';
    done(own || command ? null : refuse());
  },
  authorizeSubscribe: (client, subscription, done) => {
    const name = names.get(client);
    const own = subscription.topic === `devices/${name}/commands/#`;
    const reads = name === service && subscription.topic.startsWith('devices/');
    if (own || reads) done(null, subscription);
    else done(refuse());
  },
});

createServer(
  {
    key: readFileSync(settings.key),
    cert: readFileSync(settings.chain),
    ca: readFileSync(settings.clientRoot),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
  },
  (socket) => broker.handle(socket.setNoDelay(true)),
).listen(settings.port, '127.0.0.1');
