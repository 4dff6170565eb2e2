/**
 * What becomes of an accepted message, whatever protocol it came by: first it is made durable wherever it has to be
 * (the mailbox of the device that it commands, the retained message of its topic, the spools of its backends, the
 * queues of durable sessions), then it goes to subscribers, and only then may it be acknowledged.
 */
import { rejection } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Broker } from '../broker/broker.ts';
import { deviceCommanded } from '../broker/commands.ts';
import type { CommandMailbox } from '../broker/commands.ts';
import type { DurableIndex } from '../broker/durable-index.ts';
import type { Message, QueuedId } from '../broker/message.ts';
import type { RetainedStore } from '../broker/retained.ts';
import type { QueueTarget, Reception, SessionStore } from '../broker/sessions.ts';
import { noRoom } from './spooling.ts';
import type { Spooling } from './spooling.ts';

export interface IntakeParts {
  readonly broker: Pick<Broker, 'publish' | 'groups'>;
  readonly retained: RetainedStore;
  readonly mailbox: CommandMailbox;
  readonly spooling: Spooling;
  readonly sessions: Pick<SessionStore, 'newId' | 'enqueue'>;
  /** Of these sessions. */
  readonly index: Pick<DurableIndex, 'targets'>;
  /** Whether the disk has room for what is new. */
  readonly hasRoom: () => boolean;
  /** Whether the registry knows the identity, and it is not revoked: nobody else is given a mailbox. */
  readonly isRegistered: (name: PrincipalName) => boolean;
}

/** A message on its way to where it is durable. */
export interface Storing {
  /** To be published, in place of the one that was given: it says whom it was dealt out to. */
  readonly message: Message;
  /** Rejects with SallyportError `unavailable`, `quota` or `io`: the message MUST then be refused. */
  readonly done: Promise<unknown>;
}

/** The places that a message is being written to. */
interface Places {
  readonly mailed: Promise<string> | undefined;
  readonly all: readonly Promise<unknown>[];
}

interface Queued {
  readonly message: Message;
  readonly id: QueuedId;
  readonly targets: readonly QueueTarget[];
  readonly reception: Reception | undefined;
}

export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /**
   * @param reception for QoS 2 from a durable session: remembered in the same transaction.
   * @returns undefined when there is nothing to wait for, and the message is published as it is.
   * @throws SallyportError as `done` rejects.
   */
  store(message: Message, reception?: Reception): Storing | undefined {
    const device = this.#commanded(message.topic);
    const queued = message.qos === 0 ? undefined : this.#dealt(message, reception);
    if (device === undefined && !message.retain && queued === undefined) {
      const done = this.#parts.spooling.spool(message);
      return done === undefined ? undefined : { message, done };
    }
    return { message: queued?.message ?? message, done: this.#done(message, device, queued) };
  }

  /**
   * After `store`, the message that it returned. @returns how many get it: subscribers, other workers, and one more for
   * all durable queues.
   */
  publish(message: Message): number {
    return this.#parts.broker.publish(message);
  }

  /** Both, for a command from an operator. @returns its id; undefined when the device is not known. */
  async command(device: PrincipalName, message: Message): Promise<string | undefined> {
    if (this.#commanded(message.topic) !== device) return undefined;
    const queued = this.#dealt(message, undefined);
    const { mailed, all } = this.#storeAll(message, device, queued);
    await Promise.all(all);
    this.publish(queued?.message ?? message);
    return mailed;
  }

  /** Whose queues it is written to, and who gets it for shared subscriptions when one of those is a queue. */
  #dealt(message: Message, reception: Reception | undefined): Queued | undefined {
    const { broker, index, sessions } = this.#parts;
    const { groups } = broker;
    const mayQueue = groups.mayQueue(message.topic);
    const picks = mayQueue ? groups.pick(message, true) : undefined;
    const targets = index.targets(message, picks);
    if (targets.length === 0 && !mayQueue && reception === undefined) return undefined;
    const id = sessions.newId();
    const delivery = {
      id: targets.length === 0 ? undefined : id,
      picks: picks ?? groups.pick(message, false),
      handedOn: 0,
    };
    return { message: { ...message, delivery }, id, targets, reception };
  }

  #done(
    message: Message,
    device: PrincipalName | undefined,
    queued: Queued | undefined,
  ): Promise<unknown> {
    try {
      const { all } = this.#storeAll(message, device, queued);
      const [only = settled] = all;
      // Most messages have one place, whose promise many share that came in the same turn.
      return all.length < 2 ? only : Promise.all(all);
    } catch (error) {
      return rejection(error);
    }
  }

  /**
   * All at the same time: one after the other, a message that is retained would reach a backend after one that is not
   * and came later. What one place refuses another may have taken; its publisher is told and sends it again.
   */
  #storeAll(
    message: Message,
    device: PrincipalName | undefined,
    queued: Queued | undefined,
  ): Places {
    const { retained, mailbox, spooling, sessions, hasRoom } = this.#parts;
    if (!hasRoom()) throw noRoom();
    const all: Promise<unknown>[] = [];
    const begun = (place: Promise<unknown> | undefined): void => {
      if (place !== undefined) all.push(place);
    };
    let mailed: Promise<string> | undefined;
    try {
      begun(spooling.spool(message));
      mailed = device === undefined ? undefined : mailbox.put(device, message);
      begun(mailed);
      if (message.retain) begun(retained.put(message));
      if (queued !== undefined) begun(enqueue(sessions, message, queued));
    } catch (error) {
      // The message is refused already. Nobody waits for what has begun, and it must not end the process if it fails.
      for (const place of all) place.catch(() => {});
      throw error;
    }
    return { mailed, all };
  }

  #commanded(topic: string): PrincipalName | undefined {
    const id = deviceCommanded(topic);
    if (id === undefined) return undefined;
    const device = principalName('device', id);
    return this.#parts.isRegistered(device) ? device : undefined;
  }
}

const settled: Promise<unknown> = Promise.resolve();

function enqueue(
  sessions: IntakeParts['sessions'],
  message: Message,
  { id, targets, reception }: Queued,
): Promise<void> | undefined {
  if (targets.length === 0 && reception === undefined) return undefined;
  return sessions.enqueue(id, message, targets, reception);
}
