/** Sallyport as the benchmarks run it: limits raised so that none is reached, every row of the policy table on. */
import { startGateway } from '../../test/harness/gateway.ts';
import type { Gateway, Identity } from '../../test/harness/gateway.ts';
import { loadCredentials } from '../load/credentials.ts';
import type { Credentials } from '../load/credentials.ts';
import { together } from '../load/pace.ts';
import { onServerCore } from './machine.ts';
import { treeOf } from './process-tree.ts';

export interface RaisedOptions {
  readonly workers?: number;
  /** Below the telemetry route: `schema: …`, `to: …`. */
  readonly route?: readonly string[];
  /** More routes, each with the rate of all others: name and what else it has. */
  readonly routes?: Readonly<Record<string, readonly string[]>>;
  /** More limits. */
  readonly limits?: readonly string[];
  /** More top-level keys. */
  readonly config?: readonly string[];
  /** One more listener, as the test harness takes it. */
  readonly listener?: string;
  readonly files?: Readonly<Record<string, string>>;
  /** What the gateway runs under; the servers' core when it is left out. */
  readonly under?: readonly [string, ...string[]];
}

export interface SallyportOptions extends RaisedOptions {
  /** How many it has; besides, a service that may read all of them. */
  readonly devices: number;
}

/** Above anything that this load can reach, and still counted, which is what costs. */
const unreached = 1_000_000;
const rate = `{ limit: ${unreached}/s, burst: ${unreached} }`;

function raisedConfig(options: RaisedOptions): string {
  return [
    ...(options.config ?? []),
    'routes:',
    '  telemetry:',
    `    rate: ${rate}`,
    '    breaker: { failures: 20, within: 10s, open: 1m }',
    ...(options.route ?? []).map((line) => `    ${line}`),
    ...Object.entries(options.routes ?? {}).flatMap(([name, lines]) => [
      `  ${name}:`,
      `    rate: ${rate}`,
      ...lines.map((line) => `    ${line}`),
    ]),
    'limits:',
    `  sourceConnectionsPerSecond: ${unreached}`,
    `  sourceConnections: ${unreached}`,
    `  halfOpen: ${unreached}`,
    `  sourceHalfOpen: ${unreached}`,
    `  handshakesPerSecond: ${unreached}`,
    `  sourceFailures: ${unreached}`,
    `  connectsPerMinute: ${unreached}`,
    `  serviceConnectsPerMinute: ${unreached}`,
    `  controlPacketsPerSecond: ${unreached}`,
    '  outboundBytes: 256MiB',
    `  outboundMessages: ${unreached}`,
    `  identityRates: { device: ${rate}, service: ${rate} }`,
    ...(options.limits ?? []).map((line) => `  ${line}`),
  ].join('\n');
}

/** Resolves when it serves. */
export function startRaised(options: RaisedOptions): Promise<Gateway> {
  const { files, listener } = options;
  return startGateway({
    config: raisedConfig(options),
    workers: options.workers ?? 1,
    under: options.under ?? onServerCore,
    ...(files === undefined ? {} : { files }),
    ...(listener === undefined ? {} : { listener }),
  });
}

export interface Fleet {
  readonly devices: readonly Credentials[];
  /** Reads and commands all devices. */
  readonly service: Credentials;
  /** File with the root under which all of them are. */
  readonly rootFile: string;
}

export class Sallyport implements AsyncDisposable {
  readonly name = 'Sallyport';
  readonly gateway: Gateway;
  readonly fleet: Fleet;

  /** Resolves when it serves and its devices have their certificates. */
  static async start(options: SallyportOptions): Promise<Sallyport> {
    const gateway = await startRaised(options);
    try {
      const service = await gateway.service('be', 'backend');
      const devices = await enrol(gateway, options.devices);
      return new Sallyport(gateway, {
        devices: devices.map(loadCredentials),
        service: loadCredentials(service),
        rootFile: service.ca,
      });
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(gateway: Gateway, fleet: Fleet) {
    this.gateway = gateway;
    this.fleet = fleet;
  }

  /** Of its first process. */
  get pid(): number {
    return this.gateway.pid;
  }

  get processes(): readonly number[] {
    return treeOf(this.pid);
  }

  get mqttsPort(): number {
    return this.gateway.mqttsPort;
  }

  get httpsPort(): number {
    const { https } = this.gateway.run().listeners;
    if (https === undefined) throw new Error('this Sallyport has no https listener');
    return https.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
  }
}

/** Each command has a time limit of its own. */
const devicesPerCommand = 1_000;
/** Most of a command's time the gateway waits for its disk. */
const commandsAtOnce = 3;

/** Devices `deviceId(0)` and so on, each with a key and a certificate of its own. */
export async function enrol(gateway: Gateway, devices: number): Promise<readonly Identity[]> {
  const ids = Array.from({ length: devices }, (_, i) => deviceId(i));
  const parts: string[][] = [];
  for (let at = 0; at < ids.length; at += devicesPerCommand) {
    parts.push(ids.slice(at, at + devicesPerCommand));
  }
  const made: (readonly Identity[])[] = [];
  await together(parts.length, commandsAtOnce, async (i) => {
    made[i] = await gateway.devices(...(parts[i] ?? []));
  });
  return made.flat();
}

export function deviceId(index: number): string {
  return `d${String(index).padStart(6, '0')}`;
}
