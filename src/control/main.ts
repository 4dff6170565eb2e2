/**
 * Control: the process that faces operators and holds the keys and the registry. It reads what it needs while it may,
 * becomes its own user, and only then listens.
 */
import { Socket } from 'node:net';
import { systemClock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import { jsonLogger } from '../common/base/json-logger.ts';
import { LogBudget } from '../common/base/log-budget.ts';
import { channels, maxSlot } from '../common/ipc/frames.ts';
import type { Frame } from '../common/ipc/frames.ts';
import { Link, parseBody } from '../common/ipc/link.ts';
import type { ControlToSupervisor, SupervisorToControl } from '../common/ipc/messages.ts';
import { Control } from './control.ts';
import { SupervisorCalls } from './supervisor-calls.ts';

const maxFrameBytes = 64 * 1024 * 1024;
const maxBufferedBytes = 512 * 1024 * 1024;
/** Requests that are under way when control is told to end. */
const drainMs = 2_000;

process.umask(0o077);
const logger = jsonLogger({ process: 'control', pid: process.pid });
const link = new Link(new Socket({ fd: 3 }), { maxFrameBytes, maxBufferedBytes });
const toSupervisor = (message: ControlToSupervisor): void =>
  link.send(channels.supervisor, message);
const calls = new SupervisorCalls(toSupervisor);
const workerFaults = new LogBudget(1, systemClock);
let control: Control | undefined;
let early: SupervisorToControl[] = [];

link.onClose = () => process.exit(0);
link.onFrame = (frame) => {
  if (frame.channel <= maxSlot) fromWorker(frame);
  else receive(frame);
};

process.on('uncaughtException', (error) => {
  logger.fatal({ err: error.stack }, 'uncaught exception');
  process.exit(1);
});
for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGUSR2'] as const) {
  // Sent to the whole group by a terminal; the supervisor decides and tells.
  process.on(signal, () => {});
}

/** A worker may be in an attacker's hands: whatever it sends costs at most its own frame. */
function fromWorker(frame: Frame): void {
  try {
    control?.fromWorker(frame.channel, frame.body);
  } catch (error) {
    if (workerFaults.take()) {
      logger.error({ slot: frame.channel, err: messageOf(error) }, 'a frame of a worker failed');
    }
  }
}

function receive(frame: Frame): void {
  // The supervisor is the process that started this one.
  const message = parseBody(frame.body) as SupervisorToControl | undefined;
  if (message === undefined) return;
  if (message.type === 'ping') toSupervisor({ type: 'pong', n: message.n });
  else if (message.type === 'welcome') start(message);
  else if (control === undefined) early.push(message);
  else deliver(control, message);
}

function deliver(to: Control, message: SupervisorToControl): void {
  switch (message.type) {
    case 'members':
      to.setMembers(message.members);
      return;
    case 'listening':
      to.listening(message.listener, { host: message.host, port: message.port });
      return;
    case 'worker-gone':
      to.workerGone(message.slot, message.generation);
      return;
    case 'want-snapshot':
      to.requestSnapshot();
      return;
    case 'bundle':
      // Without a question it is SIGHUP's.
      if (message.id === 0) {
        void to.reloadFrom(message.bundle, message.error).then((applied) => {
          if (applied) toSupervisor({ type: 'applied', id: 0 });
        });
      }
      calls.answered(message.id, message.bundle, message.error);
      return;
    case 'done':
      calls.answered(message.id, undefined, message.error);
      return;
    case 'clock':
      to.clockRead(message.reading);
      return;
    case 'announced':
      to.operatorAnnounced();
      return;
    case 'drain':
      void to.close(drainMs).then(() => process.exit(0));
      break;
    case 'welcome':
    case 'ping':
      break;
  }
}

function start(welcome: Extract<SupervisorToControl, { type: 'welcome' }>): void {
  Control.open({
    welcome,
    clock: systemClock,
    logger,
    calls,
    toSupervisor,
    broadcast: (kind, epoch, seq, message) =>
      link.forward(
        { channel: channels.broadcast, kind, epoch, seq },
        Buffer.from(JSON.stringify(message)),
      ),
    toWorker: (slot, message) => link.send(slot, message),
  }).then(
    (opened) => {
      control = opened;
      const messages = early;
      early = [];
      for (const message of messages) deliver(opened, message);
    },
    (error: unknown) => {
      const hint =
        error instanceof SallyportError && error.hint !== undefined ? `; ${error.hint}` : '';
      toSupervisor({ type: 'failed', message: `${messageOf(error)}${hint}` });
      void link.flushed().then(() => process.exit(1));
    },
  );
}
