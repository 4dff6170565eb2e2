/**
 * A worker: the process that faces the network. It holds no CA key, no master key, no registry and no admin API; it
 * decides with the snapshot that control keeps current. This file fits its parts together.
 */
import { Socket } from 'node:net';
import { systemClock } from '../common/base/clock.ts';
import { messageOf } from '../common/base/errors.ts';
import { jsonLogger } from '../common/base/json-logger.ts';
import { dropPrivileges } from '../common/base/privileges.ts';
import { channels, frameKinds } from '../common/ipc/frames.ts';
import type { Frame } from '../common/ipc/frames.ts';
import { Link, parseBody } from '../common/ipc/link.ts';
import type {
  ControlToWorker,
  SupervisorToWorker,
  WorkerToControl,
  WorkerToSupervisor,
  WorkerWelcome,
} from '../common/ipc/messages.ts';
import { Gateway } from './gateway.ts';
import { loadHttpParser } from './routes/http-parser.ts';

/** Snapshots of large fleets come in one frame. */
const maxFrameBytes = 256 * 1024 * 1024;
const maxBufferedBytes = 64 * 1024 * 1024;

process.umask(0o077);
const logger = jsonLogger({ process: 'worker', pid: process.pid });
const link = new Link(new Socket({ fd: 3 }), { maxFrameBytes, maxBufferedBytes });
let gateway: Gateway | undefined;
/** What came before the gateway stood, in order. */
let early: Frame[] = [];

const toSupervisor = (message: WorkerToSupervisor): void => link.send(channels.supervisor, message);
const toControl = (message: WorkerToControl): void => link.send(channels.control, message);

// A worker without its supervisor has nobody to tell it what has changed.
link.onClose = () => process.exit(0);
link.onFrame = receive;

process.on('uncaughtException', (error) => {
  logger.fatal({ err: error.stack }, 'uncaught exception');
  process.exit(1);
});
for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM', 'SIGUSR2'] as const) {
  // Sent to the whole group by a terminal; the supervisor decides and tells.
  process.on(signal, () => {});
}

// The others wait from the welcome on: all that can be loaded is loaded before.
loadHttpParser().then(() => toSupervisor({ type: 'up' }), fail);

function fail(error: unknown): void {
  logger.fatal({ err: messageOf(error) }, 'worker could not start');
  toSupervisor({ type: 'failed', message: messageOf(error) });
  void link.flushed().then(() => process.exit(1));
}

function receive(frame: Frame): void {
  const message = parseBody(frame.body) as SupervisorToWorker | ControlToWorker | undefined;
  if (message === undefined) return;
  switch (message.type) {
    case 'ping':
      toSupervisor({ type: 'pong', n: message.n });
      return;
    case 'welcome':
      start(message).catch(fail);
      return;
    default:
      if (gateway === undefined) early.push(frame);
      else deliver(gateway, frame, message);
  }
}

function deliver(to: Gateway, frame: Frame, message: SupervisorToWorker | ControlToWorker): void {
  switch (message.type) {
    case 'snapshot':
    case 'delta':
    case 'current':
      to.applySnapshot(frame, message);
      return;
    case 'reply':
      to.replied(message.id, message.ok);
      return;
    case 'ask':
      to.asked(message.id, message.ask);
      return;
    case 'called':
      to.called(message);
      return;
    case 'members':
      to.setMembers(message.members, message.change);
      return;
    case 'hold':
      void to.holdStore().then(() => toSupervisor({ type: 'held', opening: message.opening }));
      return;
    case 'go-on':
      to.goOn();
      return;
    case 'drain':
      void to.drain(message.reason).then(async () => {
        toSupervisor({ type: 'drained' });
        await link.flushed();
        process.exit(0);
      });
      break;
    case 'welcome':
    case 'ping':
      break;
  }
}

async function start(welcome: WorkerWelcome): Promise<void> {
  // Everything that follows uses paths relative to the worker's own folder.
  dropPrivileges(welcome.privileges);
  const started = await Gateway.open({
    welcome,
    clock: systemClock,
    logger,
    toSupervisor,
    toControl,
  });
  gateway = started;
  const frames = early;
  early = [];
  for (const frame of frames) {
    const message = parseBody(frame.body) as SupervisorToWorker | ControlToWorker;
    deliver(started, frame, message);
  }
  toSupervisor({ type: 'joined' });
  if (!frames.some((frame) => frame.kind === frameKinds.snapshot))
    toControl({ type: 'want-snapshot' });
}
