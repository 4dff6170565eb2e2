/** The command line within the test's process, against a real admin API on a Unix socket whose services are the test's. */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { runCommandLine } from '../../src/cli/program.ts';
import { systemClock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { localCaller } from '../../src/control/admin/callers.ts';
import { FakeServices } from '../../src/control/admin/fake-services.ts';
import { createRequestHandler } from '../../src/control/admin/request-handler.ts';
import { adminRoutes } from '../../src/control/admin/routes.ts';
import { SourceBrake } from '../../src/control/admin/source-brake.ts';
import { temporaryFolder } from './temporary-folder.ts';

export class CommandLine implements Disposable {
  /** What the commands reach; `renew` puts others in their place. */
  services = new FakeServices();
  readonly #folder = temporaryFolder();
  readonly #server: Server;

  static async start(): Promise<CommandLine> {
    const line = new CommandLine();
    mkdirSync(line.#folder.at('control'));
    await new Promise<void>((resolve) => {
      line.#server.listen(line.#folder.at('control', 'admin.sock'), resolve);
    });
    return line;
  }

  private constructor() {
    this.#server = createServer((request, response) =>
      createRequestHandler({
        services: this.services,
        routes: adminRoutes,
        brake: new SourceBrake(systemClock),
        logger: silentLogger,
        identify: localCaller,
      })(request, response),
    );
  }

  /** A path in the data directory. */
  at(...names: readonly string[]): string {
    return this.#folder.at(...names);
  }

  renew(): void {
    this.services = new FakeServices();
  }

  async run(...args: readonly string[]) {
    let out = '';
    let err = '';
    const terminal = {
      out: (text: string) => void (out += text),
      err: (text: string) => void (err += text),
      uid: 1000,
    };
    const code = await runCommandLine([...args, '--data', this.#folder.path], terminal, '0.1.0');
    return { code, out, err };
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#folder[Symbol.dispose]();
  }
}
