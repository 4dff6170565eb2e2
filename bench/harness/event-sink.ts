/** A backend that takes CloudEvents, single or in batches, and knows which it has had. It runs beside the load. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { within } from '../../test/harness/waiting.ts';

const arrivalMs = 120_000;

export class EventSink implements AsyncDisposable {
  readonly #server: Server;
  /** At least once: an event may come again. */
  readonly #ids = new Set<string>();
  #wanted = 0;
  #done: () => void = () => {};

  /** @param port any free one when it is left out. */
  static async start(port = 0): Promise<EventSink> {
    const sink = new EventSink();
    await new Promise<void>((resolve, reject) => {
      sink.#server.once('error', reject);
      sink.#server.listen(port, '127.0.0.1', resolve);
    });
    return sink;
  }

  private constructor() {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        for (const id of idsOf(request, Buffer.concat(parts))) this.#ids.add(id);
        response.writeHead(204).end();
        if (this.#ids.size >= this.#wanted) this.#done();
      });
    });
    this.#server.keepAliveTimeout = arrivalMs;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the sink is not open');
    return `http://127.0.0.1:${address.port}/`;
  }

  /** Resolves when so many events have come since the start. */
  async has(count: number): Promise<void> {
    this.#wanted = count;
    if (this.#ids.size >= count) return;
    const all = new Promise<void>((resolve) => {
      this.#done = resolve;
    });
    await within(all, arrivalMs, `${count} events at the backend; ${this.#ids.size} have come`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** CloudEvents HTTP protocol binding 1.0.2: §3.1 binary mode, §3.3 batches. */
function idsOf(request: IncomingMessage, body: Buffer): string[] {
  const id = request.headers['ce-id'];
  if (typeof id === 'string') return [id];
  const events: unknown = JSON.parse(body.toString());
  if (!Array.isArray(events)) throw new Error('neither a CloudEvent nor a batch of them');
  return events.map((event: unknown) => {
    if (typeof event === 'object' && event !== null && 'id' in event) return String(event.id);
    throw new Error('an event without an id');
  });
}
