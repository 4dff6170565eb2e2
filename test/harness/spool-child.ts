/**
 * A worker that does nothing but spool and deliver, started by test/system/spool-processes.test.ts, which sends it
 * commands over the IPC channel and gets an answer to each. Working directory: where the store and the sockets are.
 */
import { systemClock } from '../../src/common/base/clock.ts';
import { errorCodeOf } from '../../src/common/base/errors.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { noProperties } from '../../src/common/codec/mqtt/packets.ts';
import type { Member, SpoolState } from '../../src/common/ipc/messages.ts';
import type { BackendSettings } from '../../src/common/ipc/snapshot.ts';
import { Peering } from '../../src/worker/peering/peering.ts';
import { Spools } from '../../src/worker/routes/spools.ts';
import { systemTimers } from '../../src/worker/routes/timers.ts';
import { openStores } from '../../src/worker/store/open.ts';
import { hasOpened, turnToOpen } from './openings.ts';
import type { OpeningWord } from './openings.ts';

export type SpoolCommand =
  | { readonly do: 'members'; readonly members: readonly Member[]; readonly change: number }
  | { readonly do: 'backends'; readonly backends: readonly BackendSettings[] }
  /** Answered with 'spooled', 'not routed', or the code of the error. */
  | { readonly do: 'publish'; readonly device: string; readonly payload: string }
  /** As many messages at once, of `bytes` each; answered with how often each of the outcomes came. */
  | { readonly do: 'flood'; readonly messages: number; readonly bytes: number }
  | { readonly do: 'states' }
  | { readonly do: 'close' };

interface SpoolRequest {
  readonly n: number;
  readonly command: SpoolCommand;
}

export interface SpoolAnswer {
  readonly n: number;
  readonly answer: unknown;
}

const [slot = 0, generation = 0] = process.argv.slice(2).map(Number);
const limits = {
  retainedPerIdentity: 1,
  retainedBytesPerIdentity: 1,
  commandsPerDevice: 1,
  commandBytesPerDevice: 1,
  commandTtlMs: 1_000,
  sessionsPerIdentity: 1,
  queuedMessages: 1,
  queuedBytes: 1,
  whenQueueFull: 'drop-newest',
  diskReserveBytes: 1,
} as const;
await turnToOpen();
const stores = openStores({
  slot,
  directory: 'store',
  key: Buffer.alloc(32, 7),
  durability: () => 'flushed',
  limits: () => limits,
  sessions: {
    workers: { slots: () => [], isPresent: () => true, isHome: () => false },
    isRevoked: () => false,
    timers: systemTimers,
    onSessionChanged: async () => {},
    publishWill: async () => {},
    count: () => {},
  },
  clock: systemClock,
  logger: silentLogger,
});
hasOpened(stores);
const peering = new Peering({
  slot,
  generation,
  key: Buffer.alloc(32, 5),
  clock: systemClock,
  logger: silentLogger,
  sessionsPerIdentity: () => 1,
  rules: () => undefined,
  onClone: () => {},
});
const spools = new Spools({
  store: stores.spools,
  seal: stores.seal,
  hasRoom: () => stores.hasRoom(),
  peers: peering.peers,
  durability: () => 'flushed',
  clock: systemClock,
  logger: silentLogger,
  count: () => {},
});

async function publish(device: string, payload: Buffer): Promise<string> {
  try {
    const spooled = spools.spool({
      topic: `devices/${device}/telemetry`,
      payload,
      qos: 1,
      retain: false,
      properties: noProperties,
      publisher: principalName('device', device),
      publisherSession: '',
      delivery: undefined,
      expiresAt: undefined,
    });
    if (spooled === undefined) return 'not routed';
    await spooled;
    return 'spooled';
  } catch (error) {
    return errorCodeOf(error);
  }
}

async function obey(command: SpoolCommand): Promise<unknown> {
  switch (command.do) {
    case 'members':
      peering.setMembers(command.members, command.change);
      return true;
    case 'backends':
      spools.update(command.backends, 'fleet.x');
      return true;
    case 'publish':
      return publish(command.device, Buffer.from(command.payload));
    case 'flood': {
      const { messages, bytes } = command;
      const outcomes = await Promise.all(
        Array.from({ length: messages }, (_, i) => publish(`f${i}`, Buffer.alloc(bytes, 'x'))),
      );
      const times = (wanted: string): number => outcomes.filter((one) => one === wanted).length;
      return { spooled: times('spooled'), unavailable: times('unavailable') };
    }
    case 'states': {
      const states: readonly SpoolState[] = await spools.states();
      return states;
    }
    case 'close':
      await spools.drain(1_000);
      await peering.close();
      await stores.close();
      return true;
  }
}

process.on('message', (message: SpoolRequest | OpeningWord) => {
  if (typeof message === 'string') return;
  const { n, command } = message;
  void obey(command).then((answer) => process.send?.({ n, answer }));
});
process.on('disconnect', () => process.exit(0));
await peering.start();
process.send?.({ n: 0, answer: 'started' });
