/**
 * A TPM 2.0 made of software, swtpm, behind a resource manager, as /dev/tpmrm0 is. The resource manager speaks over a
 * message bus, which is its own too.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { listensAt } from './unix-socket.ts';
import { until } from './waiting.ts';

const startLimitMs = 30_000;
const tcti = 'tabrmd:bus_type=session';

export class SoftwareTpm implements AsyncDisposable {
  /** For programs that are to use it. */
  readonly environment: NodeJS.ProcessEnv;
  readonly #children: readonly ChildProcess[];

  private constructor(children: readonly ChildProcess[], environment: NodeJS.ProcessEnv) {
    this.#children = children;
    this.environment = environment;
  }

  /** A new TPM, whose state is in `folder`. */
  static async start(folder: string): Promise<SoftwareTpm> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const socket = join(folder, 'tpm');
    const busSocket = join(folder, 'bus');
    const bus = `unix:path=${busSocket}`;
    const environment = {
      DBUS_SESSION_BUS_ADDRESS: bus,
      TPM2TOOLS_TCTI: tcti,
      TPM2OPENSSL_TCTI: tcti,
    };
    const children: ChildProcess[] = [];
    const tpm = new SoftwareTpm(children, environment);
    const start = (program: string, ...args: readonly string[]): void => {
      const env = { ...process.env, ...environment };
      children.push(spawn(program, args, { env, stdio: 'ignore' }));
    };
    try {
      start('dbus-daemon', '--session', '--nofork', `--address=${bus}`);
      const channels = [
        `--server=type=unixio,path=${socket}`,
        `--ctrl=type=unixio,path=${socket}.ctrl`,
      ];
      const state = ['--tpmstate', `dir=${folder}`, '--flags', 'not-need-init,startup-clear'];
      start('swtpm', 'socket', '--tpm2', ...channels, ...state);
      const answers = (args: readonly string[], env: NodeJS.ProcessEnv): boolean =>
        spawnSync('tpm2_getrandom', ['--hex', '4', ...args], {
          env: { ...process.env, ...env },
          stdio: 'ignore',
        }).status === 0;
      const direct = { TPM2TOOLS_TCTI: `swtpm:path=${socket}` };
      // The resource manager ends at once when there is no bus.
      await until('the message bus listens', startLimitMs, () => listensAt(busSocket));
      await until('swtpm answers', startLimitMs, () => answers([], direct));
      start('tpm2-abrmd', '--session', '--allow-root', `--tcti=swtpm:path=${socket}`);
      await until('the resource manager answers', startLimitMs, () => answers([], environment));
      return tpm;
    } catch (error) {
      await tpm[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
  }
}
