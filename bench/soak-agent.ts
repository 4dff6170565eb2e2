/**
 * A process full of devices, for `soak.ts`: it connects them, holds them, lets them publish, and says on standard
 * output, one JSON line a second, how that goes. Standard input says when to publish; when it ends, so does this.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { SecureContext } from 'node:tls';
import type { Identity } from '../test/harness/gateway.ts';
import { sourceAddress } from './harness/network.ts';
import { loadCredentials } from './load/credentials.ts';
import { MqttSession, publishBytes } from './load/mqtt-session.ts';
import { steadily, together } from './load/pace.ts';
import { stampBytes, stamped } from './load/stamped-payload.ts';
import { tlsContext } from './load/tls-client.ts';
import type { AgentLine, AgentPublish, AgentTask } from './load/soak-words.ts';

/** Handshakes under way at once: beyond that the client is the bottleneck, and its own timeouts strike. */
const connectsAtOnce = 64;

// What the soak wrote.
const task = JSON.parse(process.argv[2] ?? '') as AgentTask;
const identities = JSON.parse(readFileSync(task.manifest, 'utf8')) as readonly Identity[];

const sessions: { readonly session: MqttSession; readonly publish: Buffer }[] = [];
const reasons = new Map<string, number>();
let failed = 0;
let ended = 0;
let sent = 0;

function print(event: AgentLine['event']): void {
  const line: AgentLine = {
    event,
    connected: sessions.length,
    failed,
    ended,
    sent,
    residentBytes: process.memoryUsage.rss(),
    reasons: Object.fromEntries(reasons),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function because(reason: string): void {
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}

/** 45 kB each, so the sessions of one identity share one. */
const contexts: SecureContext[] = [];

async function connect(index: number): Promise<void> {
  const place = index % identities.length;
  const identity = identities[place];
  if (identity === undefined) return;
  try {
    const context = (contexts[place] ??= tlsContext(loadCredentials(identity)));
    const localAddress = sourceAddress(task.firstSource + index);
    // Several sessions of one identity need client ids of their own.
    const clientId = `${identity.id}-${Math.floor(index / identities.length)}`;
    const session = await MqttSession.open({ port: task.port, localAddress, context }, clientId);
    session.onEnd = (reason) => {
      ended += 1;
      because(reason);
    };
    const publish = publishBytes(`devices/${identity.id}/telemetry`, stampBytes());
    sessions.push({ session, publish });
  } catch (error) {
    failed += 1;
    because(error instanceof Error && error.cause instanceof Error ? error.cause.message : 'other');
  }
}

async function connectAll(): Promise<void> {
  const started = performance.now();
  await together(task.sessions, connectsAtOnce, async (index) => {
    const dueMs = (index / task.perSecond) * 1_000;
    const early = dueMs - (performance.now() - started);
    if (early > 0) await delay(early);
    await connect(index);
  });
}

async function publishAll({ perSecond, seconds }: AgentPublish): Promise<void> {
  let turn = 0;
  await steadily(perSecond, seconds, () => {
    const next = sessions[turn % sessions.length];
    turn += 1;
    if (next === undefined || next.session.ended) return;
    next.session.send(stamped(next.publish));
    sent += 1;
  });
}

setInterval(() => print('progress'), 1_000);
const orders = createInterface({ input: process.stdin });
// At any time: who started this is gone.
orders.on('close', () => process.exit());
await connectAll();
print('connected');
orders.on('line', (line) => {
  void publishAll(JSON.parse(line) as AgentPublish).then(() => print('published'));
});
