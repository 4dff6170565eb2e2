/** An HTTP server of revocation lists, which may serve anything in their place. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';

export type Served = Buffer | ((request: IncomingMessage, response: ServerResponse) => void);

export class ListServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #served = new Map<string, Served>();
  /** Paths, in the order of the requests. */
  readonly asked: string[] = [];

  static async start(): Promise<ListServer> {
    const lists = new ListServer();
    await new Promise<void>((resolve) => lists.#server.listen(0, '127.0.0.1', resolve));
    return lists;
  }

  private constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '';
      this.asked.push(path);
      const served = this.#served.get(path);
      if (typeof served === 'function') served(request, response);
      else if (served === undefined) response.writeHead(404).end();
      else response.end(served);
    });
  }

  /** Of the list that `serve` names so; nothing is there until then. */
  url(name: string): string {
    const address = this.#server.address();
    assert.ok(typeof address === 'object' && address !== null);
    return `http://127.0.0.1:${address.port}/${name}.crl`;
  }

  serve(name: string, served: Served): void {
    this.#served.set(`/${name}.crl`, served);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
