/**
 * A worker that does nothing but queue messages for the sessions that are there, started by
 * test/system/session-processes.test.ts. It says the id of each message, and the packet id that came with it, when the
 * store has promised both. Or one that is started, writes once and ends.
 */
import { writeSync } from 'node:fs';
import { systemClock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { noProperties } from '../../src/common/codec/mqtt/packets.ts';
import type { Message } from '../../src/worker/broker/message.ts';
import type { QueueTarget, SessionStore } from '../../src/worker/broker/sessions.ts';
import { systemTimers } from '../../src/worker/routes/timers.ts';
import { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';
import { openSessions } from '../../src/worker/store/open-sessions.ts';
import type { OpenedSessions } from '../../src/worker/store/open-sessions.ts';
import { RecordCipher } from '../../src/worker/store/record-cipher.ts';
import { hasOpened, turnToOpen } from './openings.ts';

export const subscriber = principalName('service', 'subscriber');
export const publisher = principalName('device', 'publisher');

export interface SessionsOf extends OpenedSessions {
  readonly environment: LmdbEnvironment;
}

/** @param present slots of the workers that are there. */
export function openSessionsOf(
  slot: number,
  directory: string,
  present: () => readonly number[],
  onWill: (message: Message) => void = () => {},
): SessionsOf {
  const environment = LmdbEnvironment.open({ directory, names: [], clock: systemClock });
  const opened = openSessions(
    {
      workers: {
        slots: present,
        isPresent: (other) => present().includes(other),
        isHome: () => true,
      },
      isRevoked: () => false,
      timers: systemTimers,
      onSessionChanged: async () => {},
      publishWill: async (_, message) => onWill(message),
      count: () => {},
    },
    {
      tables: environment.sessions(slot),
      ids: environment.spools(slot).ids,
      cipher: new RecordCipher(Buffer.alloc(32, 7)),
      limits: () => ({
        sessionsPerIdentity: 100,
        queuedMessages: 1_000_000,
        queuedBytes: 1_000_000_000,
        whenQueueFull: 'drop-newest',
      }),
      clock: systemClock,
      logger: silentLogger,
    },
  );
  return { ...opened, environment };
}

export function messageOf(text: string): Message {
  return {
    topic: 'a',
    payload: Buffer.from(text),
    qos: 2,
    retain: false,
    properties: noProperties,
    publisher,
    publisherSession: '',
    expiresAt: undefined,
    delivery: undefined,
  };
}

async function targetsIn(store: SessionStore): Promise<readonly QueueTarget[]> {
  const targets: QueueTarget[] = [];
  for await (const { id, key, principal } of store.all()) {
    if (principal !== subscriber) continue;
    targets.push({ session: id, key, principal, qos: 2, retain: false, identifiers: [] });
  }
  return targets;
}

async function publish(slot: number, directory: string): Promise<never> {
  await turnToOpen();
  const { store, environment } = openSessionsOf(slot, directory, () => [slot]);
  hasOpened(environment);
  const targets = await targetsIn(store);
  const own = await store.open({
    principal: publisher,
    clientId: `c${slot}`,
    epoch: 1,
    cleanStart: false,
    expirySeconds: 1_000,
    will: { message: messageOf(`will of ${slot}`), delaySeconds: 0 },
  });
  const one = async (packetId: number): Promise<void> => {
    const id = store.newId();
    const text = `${slot} ${packetId}`;
    await store.enqueue(id, messageOf(text), targets, { session: own.id, packetId });
    writeSync(1, `${id} ${packetId}\n`);
  };
  for (let packetId = 1; ; packetId += 3) {
    await Promise.all([one(packetId), one(packetId + 1), one(packetId + 2)]);
  }
}

async function visit(slot: number, directory: string): Promise<void> {
  const { store, reaper, environment } = openSessionsOf(slot, directory, () => [slot]);
  const visitor = { principal: publisher, clientId: 'visitor', epoch: 1, cleanStart: false };
  await store.open({ ...visitor, expirySeconds: 1_000, will: undefined });
  await reaper.close();
  await environment.close();
}

const [task, slot, directory = 'store'] = process.argv.slice(2);
if (task === 'publish') await publish(Number(slot), directory);
if (task === 'visit') await visit(Number(slot), directory);
