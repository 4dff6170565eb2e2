/**
 * Commands to devices: one mailbox each, shared by all workers, for every protocol that a device may read it by. The
 * port that a store fills.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Message } from './message.ts';

/** A message as it was published, and how it is named until its device has acknowledged it. */
export interface Command {
  /** `[0-9A-Za-z-]{1,64}`; later commands of a device have ids that are later in the order of their characters. */
  readonly id: string;
  /** Milliseconds, wall clock: when it was accepted. */
  readonly at: number;
  readonly message: Message;
}

export interface MailboxLimits {
  /** Commands that wait for one device, and their bytes: topics, payloads and properties. */
  readonly commandsPerDevice: number;
  readonly commandBytesPerDevice: number;
  /** For a command without an expiry of its own. */
  readonly commandTtlMs: number;
}

export interface CommandMailbox {
  /**
   * Stores the command; resolves to its id when that is as durable as the `durability` setting says.
   *
   * @throws SallyportError `quota` when the mailbox is full, `unavailable` when too many write to it at once, `io`
   * when the disk refuses. Nothing has changed then.
   */
  put(device: PrincipalName, message: Message): Promise<string>;
  /** Everything that waits for the device, oldest first; expired commands are left out. */
  list(device: PrincipalName): Promise<readonly Command[]>;
  /**
   * Removes one; as durable as the setting says before it resolves, so that an acknowledged command never comes again.
   *
   * @returns whether it was there.
   */
  acknowledge(device: PrincipalName, id: string): Promise<boolean>;
  /** Removes all up to and including `id`, whether that one is there or not. @returns how many there were. */
  acknowledgeUpTo(device: PrincipalName, id: string): Promise<number>;
}

/** The topics below which a device gets its commands: the device, or undefined for any other topic. */
export function deviceCommanded(topic: string): string | undefined {
  // Nearly every topic is none, and is told from one without the expression.
  const end = topic.indexOf('/', 'devices/'.length);
  if (end === -1 || !topic.startsWith('/commands/', end)) return undefined;
  return commandTopic.exec(topic)?.[1];
}

/** Whether the mailbox of the device whose session it is delivers the topic to it, and no queue does. */
export function isOwnCommand(topic: string, sessionKey: string): boolean {
  const device = deviceCommanded(topic);
  return device !== undefined && sessionKey.startsWith(`device/${device} `);
}

/** Whether every topic below the filter is such a one. */
export function isOwnCommandFilter(filter: string, principal: PrincipalName): boolean {
  const [kind, id] = principal.split('/');
  return kind === 'device' && filter.startsWith(`devices/${id}/commands/`);
}

export function commandFilter(deviceId: string): string {
  return `devices/${deviceId}/commands/#`;
}

/** @param name one or more topic levels. */
export function commandTopicOf(deviceId: string, name: string): string {
  return `devices/${deviceId}/commands/${name}`;
}

const commandTopic = /^devices\/([A-Za-z0-9][A-Za-z0-9._:-]{0,127})\/commands\//;
