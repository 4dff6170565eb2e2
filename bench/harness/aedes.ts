/** Aedes, the broker of the Node ecosystem; it speaks MQTT 3.1.1 only. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onServerCore } from './machine.ts';
import { freePort, listening } from './network.ts';
import { serverCertificate } from './peer-certificates.ts';
import { Daemon, scratchFolder } from './scratch.ts';

export interface AedesServerSettings {
  readonly port: number;
  /** Files. */
  readonly key: string;
  readonly chain: string;
  readonly clientRoot: string;
}

export class AedesBroker implements AsyncDisposable {
  readonly name = 'Aedes';
  readonly version = 4;
  readonly mqttsPort: number;
  /** PEM of the root of its certificate. */
  readonly ca: string;
  readonly #daemon: Daemon;

  /** @param clientRoot file with the root of the devices' certificates. */
  static async start(clientRoot: string): Promise<AedesBroker> {
    const folder = scratchFolder('aedes');
    const port = await freePort();
    const { key, chain, root } = serverCertificate(folder);
    const settings: AedesServerSettings = { port, key, chain, clientRoot };
    const log = join(folder, 'log');
    const script = join(import.meta.dirname, 'aedes-server.ts');
    const daemon = new Daemon(
      [...onServerCore, process.execPath, script, JSON.stringify(settings)],
      log,
    );
    await listening(
      port,
      () => daemon.ended,
      () => `Aedes ended: ${readFileSync(log, 'utf8')}`,
    );
    return new AedesBroker(daemon, port, readFileSync(root, 'utf8'));
  }

  private constructor(daemon: Daemon, port: number, ca: string) {
    this.#daemon = daemon;
    this.mqttsPort = port;
    this.ca = ca;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}
