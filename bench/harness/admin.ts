/** The admin API of a gateway over its unix socket: what the command line asks, without a process for each question. */
import { Agent, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { Gateway } from '../../test/harness/gateway.ts';

export class Admin implements Disposable {
  readonly #socketPath: string;
  readonly #agent: Agent;

  /** @param atOnce requests under way. */
  constructor(gateway: Pick<Gateway, 'dataDir'>, atOnce: number) {
    this.#socketPath = join(gateway.dataDir, 'control', 'admin.sock');
    this.#agent = new Agent({ keepAlive: true, maxSockets: atOnce });
  }

  /** Creates something. @returns what was told of it. @throws Error for every status but 201. */
  create(path: string, body: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const post = httpRequest(
        {
          agent: this.#agent,
          socketPath: this.#socketPath,
          method: 'POST',
          path,
          headers: { 'content-type': 'application/json' },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (piece: string) => {
            text += piece;
          });
          response.once('end', () => {
            if (response.statusCode === 201) resolve(JSON.parse(text));
            else reject(new Error(`${path}: ${response.statusCode ?? 0} ${text}`));
          });
        },
      );
      post.once('error', reject);
      post.end(JSON.stringify(body));
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
