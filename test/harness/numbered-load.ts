/** Several numbered devices at once, and what a backend must have in the end of what they were promised. */
import type { BackendRecord, Promised } from './backend-record.ts';
import type { Backend } from './backend.ts';
import type { Gateway, Identity } from './gateway.ts';
import { NumberedDevice } from './numbered-device.ts';
import type { NumberedOptions, Ports } from './numbered-device.ts';

/** The kinds of devices there are: each protocol, waiting for each answer or not, to each of the two channels. */
const kinds: readonly Pick<NumberedOptions, 'protocol' | 'channel' | 'window'>[] = [
  { protocol: 'mqtts', channel: 'telemetry', window: 8 },
  { protocol: 'https', channel: 'telemetry', window: 1 },
  { protocol: 'mqtts', channel: 'diagnostics', window: 1 },
  { protocol: 'mqtts', channel: 'telemetry', window: 1 },
  { protocol: 'https', channel: 'diagnostics', window: 1 },
  { protocol: 'mqtts', channel: 'diagnostics', window: 8 },
];

export interface LoadOptions {
  readonly identities: readonly Identity[];
  readonly gateway: () => Gateway;
  /** Where to reach it, in place of its own ports. */
  readonly ports?: Ports;
  /** Of each device. */
  readonly everyMs: number;
  /** Of each device, in place of that of its kind. */
  readonly window?: number;
}

const progressLimitMs = 90_000;

export class NumberedLoad {
  readonly devices: readonly NumberedDevice[];

  constructor({ identities, gateway, ports, everyMs, window }: LoadOptions) {
    this.devices = identities.map((identity, i) => {
      const kind = kinds[i % kinds.length];
      if (kind === undefined) throw new Error('there are no kinds of devices');
      return new NumberedDevice({
        ...kind,
        window: window ?? kind.window,
        identity,
        gateway,
        ports,
        everyMs,
      });
    });
  }

  /** As soon as each device was promised so many more messages. */
  async taken(messages: number, limitMs = progressLimitMs): Promise<void> {
    await Promise.all(this.devices.map((device) => device.taken(messages, limitMs)));
  }

  /** Makes no new messages; resolves when all that were made were taken. */
  async stop(limitMs = progressLimitMs): Promise<void> {
    await Promise.all(this.devices.map((device) => device.stop(limitMs)));
  }

  /** Every message that the gateway has taken. */
  promised(): readonly Promised[] {
    return this.devices.flatMap(({ id, promised }) => promised.map((seq) => ({ device: id, seq })));
  }

  get refusals(): readonly string[] {
    return this.devices.flatMap(({ refusals }) => refusals);
  }

  get connections(): number {
    return this.devices.reduce((sum, { connections }) => sum + connections, 0);
  }

  get repeated(): number {
    return this.devices.reduce((sum, { repeated }) => sum + repeated, 0);
  }

  /** The backend's record of these devices, with all that they were promised. */
  async arrived(backend: Backend, limitMs = progressLimitMs): Promise<BackendRecord> {
    const promised = this.promised();
    const devices = new Set(this.devices.map(({ id }) => id));
    try {
      await backend.recorded(
        'everything that was promised at the backend',
        (record) => record.missing(promised).length === 0,
        limitMs,
      );
    } finally {
      // Says what is missing, and whatever else is wrong.
      backend.record().about(devices).assertSound(promised);
    }
    return backend.record().about(devices);
  }
}
