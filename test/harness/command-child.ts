/**
 * A process that shares the mailboxes of a folder with others, started by test/system/commands-store.test.ts. It puts
 * commands into one mailbox and acknowledges every second of them; it says each name when the store has promised it.
 */
import { writeSync } from 'node:fs';
import { systemClock } from '../../src/common/base/clock.ts';
import { errorCodeOf } from '../../src/common/base/errors.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { noProperties } from '../../src/common/codec/mqtt/packets.ts';
import { CommandMailboxes } from '../../src/worker/store/command-mailbox.ts';
import { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';
import { RecordCipher } from '../../src/worker/store/record-cipher.ts';
import { hasOpened, turnToOpen } from './openings.ts';

const [task = '', directory = 'store'] = process.argv.slice(2);
const say = (line: string): number => writeSync(1, `${line}\n`);
const device = principalName('device', 'd1');
if (task === 'write') await turnToOpen();
const environment = LmdbEnvironment.open({ directory, names: ['commands'], clock: systemClock });
const mailbox = new CommandMailboxes({
  store: environment.store('commands'),
  cipher: new RecordCipher(Buffer.alloc(32, 1)),
  durability: () => 'flushed',
  limits: () => ({
    commandsPerDevice: 10_000,
    commandBytesPerDevice: 10_000_000,
    commandTtlMs: 3_600_000,
  }),
  clock: systemClock,
  logger: silentLogger,
});

/** One that the others have not let in for 64 turns is refused with nothing done; it asks again, as a service would. */
async function insisting<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (errorCodeOf(error) !== 'unavailable') throw error;
    }
  }
}

async function put(n: number): Promise<void> {
  const command = {
    topic: 'devices/d1/commands/go',
    payload: Buffer.from(`${process.pid} ${n}`),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('service', 'be'),
    publisherSession: 'be',
    delivery: undefined,
    expiresAt: undefined,
  } as const;
  const id = await insisting(() => mailbox.put(device, command));
  if (n % 2 === 0) {
    say(`put ${process.pid} ${n} ${id}`);
    return;
  }
  if (!(await insisting(() => mailbox.acknowledge(device, id)))) say(`lost ${id}`);
  say(`acknowledged ${id}`);
}

if (task === 'write') {
  hasOpened(environment);
  for (let n = 0; ; n += 2) await Promise.all([put(n), put(n + 1)]);
}
for (const { id, message } of await mailbox.list(device)) {
  say(`put ${message.payload.toString()} ${id}`);
}
await environment.close();
