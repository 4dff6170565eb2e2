/** mosquitto as a careful operator would run it: client certificates, identity from the certificate, an ACL. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onServerCore } from './machine.ts';
import { freePort, listening } from './network.ts';
import { serverCertificate } from './peer-certificates.ts';
import { Daemon, scratchFolder } from './scratch.ts';
import { treeOf } from './process-tree.ts';

export class Mosquitto implements AsyncDisposable {
  readonly name = 'mosquitto';
  readonly mqttsPort: number;
  /** PEM of the root of its certificate. */
  readonly ca: string;
  readonly #daemon: Daemon;

  /** @param deviceRoot file with the root of the devices' certificates. */
  static async start(deviceRoot: string): Promise<Mosquitto> {
    const folder = scratchFolder('mosquitto');
    const port = await freePort();
    const certificate = serverCertificate(folder);
    const config = join(folder, 'mosquitto.conf');
    const acl = join(folder, 'acl');
    const log = join(folder, 'log');
    writeFileSync(acl, aclText);
    writeFileSync(
      config,
      [
        // Its own user could not read a folder of mode 0700.
        'user root',
        `listener ${port} 127.0.0.1`,
        `cafile ${deviceRoot}`,
        `certfile ${certificate.chain}`,
        `keyfile ${certificate.key}`,
        'require_certificate true',
        'use_identity_as_username true',
        `acl_file ${acl}`,
        'persistence false',
        'set_tcp_nodelay true',
        // Limits raised: QoS 0 would be dropped for a reader that is behind for a moment.
        'max_queued_messages 0',
        'max_queued_bytes 0',
        // What a session's begin and end say in the log is on by default, as in Sallyport.
        'log_dest stderr',
        '',
      ].join('\n'),
    );
    const daemon = new Daemon([...onServerCore, 'mosquitto', '-c', config], log);
    await listening(
      port,
      () => daemon.ended,
      () => `mosquitto ended: ${readFileSync(log, 'utf8')}`,
    );
    return new Mosquitto(daemon, port, readFileSync(certificate.root, 'utf8'));
  }

  private constructor(daemon: Daemon, port: number, ca: string) {
    this.#daemon = daemon;
    this.mqttsPort = port;
    this.ca = ca;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  get processes(): readonly number[] {
    return treeOf(this.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}

/** The same rules as Sallyport's roles `device` and `backend`. */
const aclText = `
user be
topic read devices/+/telemetry
topic read devices/+/status
topic read devices/+/diagnostics
topic read devices/+/command_responses
topic write devices/+/commands/#

pattern write devices/%u/telemetry
pattern write devices/%u/status
pattern write devices/%u/diagnostics
pattern write devices/%u/command_responses
pattern read devices/%u/commands/#
`;
