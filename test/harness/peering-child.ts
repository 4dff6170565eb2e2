/**
 * A worker that does nothing but peering, started by test/system/peering-processes.test.ts, which sends it commands over
 * the IPC channel and gets an answer to each. Working directory: where the sockets are.
 */
import { systemClock } from '../../src/common/base/clock.ts';
import { errorCodeOf } from '../../src/common/base/errors.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { noProperties } from '../../src/common/codec/mqtt/packets.ts';
import type { Member } from '../../src/common/ipc/messages.ts';
import { Broker } from '../../src/worker/broker/broker.ts';
import type { Claim } from '../../src/worker/peering/identity-desk.ts';
import { Peering } from '../../src/worker/peering/peering.ts';

export type PeeringCommand =
  | { readonly do: 'members'; readonly members: readonly Member[]; readonly change: number }
  | { readonly do: 'claim'; readonly device: string; readonly clientId: string }
  | { readonly do: 'release'; readonly key: string }
  | { readonly do: 'take'; readonly key: string; readonly times: number }
  | { readonly do: 'taken-over' }
  | { readonly do: 'subscribe'; readonly filter: string }
  | { readonly do: 'publish'; readonly topics: readonly string[] }
  | { readonly do: 'received' };

export interface PeeringAnswer {
  readonly n: number;
  readonly answer: unknown;
}

const [slot, generation] = process.argv.slice(2).map(Number);
const peering = new Peering({
  slot: slot ?? 0,
  generation: generation ?? 0,
  key: Buffer.alloc(32, 5),
  clock: systemClock,
  logger: silentLogger,
  sessionsPerIdentity: () => 3,
  rules: () => undefined,
  onClone: () => {},
});
const broker = new Broker({ crossing: peering.crossing, clock: systemClock });
const claims = new Map<string, Claim>();
const takenOver: string[] = [];
const received: string[] = [];
// Nothing leaks back while the test runs.
const hourly = Object.freeze([{ key: 'b', windows: [{ limit: 1, perMs: 36e5, burst: 10 }] }]);

async function obey(command: PeeringCommand): Promise<unknown> {
  switch (command.do) {
    case 'members':
      peering.setMembers(command.members, command.change);
      return true;
    case 'claim': {
      const principal = principalName('device', command.device);
      const { clientId } = command;
      try {
        const claim = await peering.desk.claim(principal, clientId, () => {
          takenOver.push(claim.key);
          return undefined;
        });
        claims.set(claim.key, claim);
        return claim.key;
      } catch (error) {
        return errorCodeOf(error);
      }
    }
    case 'release':
      claims.get(command.key)?.release();
      return true;
    case 'take': {
      let passed = 0;
      for (let i = 0; i < command.times; i += 1) {
        if ((await claims.get(command.key)?.rates.take(hourly, 1)) === true) passed += 1;
      }
      return passed;
    }
    case 'taken-over':
      return takenOver;
    case 'subscribe':
      broker.subscribe(
        {
          key: `subscriber ${command.filter}`,
          principal: principalName('service', 'be'),
          deliver: (message) => received.push(message.topic),
        },
        command.filter,
        { qos: 1, noLocal: false, retainAsPublished: false, identifiers: [] },
      );
      await peering.crossing.interestSettled();
      return true;
    case 'publish':
      return command.topics.map((topic) =>
        broker.publish({
          topic,
          payload: Buffer.from('x'),
          qos: 1,
          retain: false,
          properties: noProperties,
          publisher: principalName('device', 'd1'),
          publisherSession: '',
          delivery: undefined,
          expiresAt: undefined,
        }),
      );
    case 'received':
      return received;
  }
}

process.on('message', ({ n, command }: { n: number; command: PeeringCommand }) => {
  void obey(command).then((answer) => process.send?.({ n, answer }));
});
process.on('disconnect', () => process.exit(0));
await peering.start();
process.send?.({ n: 0, answer: 'started' });
