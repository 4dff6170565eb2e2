/**
 * One connection of a device to the gateway, whatever the protocol. What goes wrong on it is a SallyportError: the
 * gateway's own code where the gateway said why, and otherwise
 *
 * - `io`: the connection could not be made, or broke;
 * - `timeout`: the gateway did not answer in time;
 * - `invalid-certificate`: whoever answered is not the gateway that the root vouches for;
 * - `malformed`: what came was not the protocol.
 */
import { SallyportError } from '../common/base/errors.ts';
import type { DenyCode, ErrorCode } from '../common/base/errors.ts';

export const protocols = ['mqtts', 'https'] as const;
export type Protocol = (typeof protocols)[number];

/** What a device may publish: the last level of its topic, `devices/<id>/…`. */
export type Channel = 'telemetry' | 'status' | 'diagnostics' | 'command_responses';

export interface Command {
  /** The levels of the topic behind `devices/<id>/commands/`. */
  readonly name: string;
  /** Where the protocol gives commands an identity. */
  readonly id: string | undefined;
  readonly payload: Buffer;
  /** MQTT 5 §3.3.2.3.6, to be put into the answer. */
  readonly correlationData: Buffer | undefined;
}

/** Everything of a device that its links share. */
export interface DeviceIdentity {
  readonly id: string;
  /** PEM, PKCS#8. */
  readonly privateKey: string;
  /** PEM: the device's certificate, then that of the CA that issued it. */
  readonly certificateChain: string;
  /** PEM: the one root that the gateway's certificate must lead to. */
  readonly root: string;
}

export interface Address {
  /** A name or an address; the gateway's certificate must have it. */
  readonly host: string;
  readonly port: number;
}

export interface LinkEvents {
  /**
   * Called for one command at a time. The gateway is told that the command is done when the promise resolves; when it
   * rejects, or the link ends first, the gateway keeps the command and gives it again.
   */
  readonly command: (command: Command) => Promise<void>;
}

export interface DeviceLink {
  /** Resolves when the gateway has let the device in; called once. @throws SallyportError why not. */
  open(): Promise<void>;
  /** Resolves with the reason when the link is over, however that came; never rejects. */
  readonly ended: Promise<SallyportError>;
  /**
   * At least once: resolves when the gateway has taken the message over.
   *
   * @throws SallyportError with the gateway's code when it refused the message, and the reason of the link's end when
   *   there was no answer. The first is a `Refusal`.
   */
  publish(channel: Channel, payload: Buffer, options?: PublishOptions): Promise<void>;
  /** Says goodbye, which keeps the will from being published, and ends the link. */
  close(): void;
}

export interface PublishOptions {
  /** Where the protocol leaves it to the publisher. */
  readonly retain?: boolean;
  readonly correlationData?: Buffer | undefined;
}

/** The gateway's no to one message; the link goes on, or says for itself why not. */
export class Refusal extends SallyportError {
  constructor(code: DenyCode) {
    super(code, `the gateway refused the message (${code})`);
    this.name = 'Refusal';
  }
}

const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthenticated',
  'standing',
  'invalid-certificate',
]);

/** Whether the next attempt would meet the same answer until a person has done something. */
export function isFinal(code: ErrorCode): boolean {
  return finalCodes.has(code);
}
