/**
 * Which worker has a connection. The kernel shares connections out among the workers of one port, so whoever wants one
 * on each worker opens connections until every worker has one.
 */
import type { Gateway } from './gateway.ts';

/** A connection, by the address of the client's end as the gateway logs it. */
interface Client extends Disposable {
  readonly address: string;
}

/** The chance to miss one of two workers so many times in a row is 1 in 2⁶⁴. */
const mostTries = 64;

/** Pid of the worker that let this client in, or has refused it in an answer. */
export async function workerOf(gateway: Gateway, client: Client): Promise<number> {
  const line = await gateway.log.logged((entry) => entry.get('remote') === client.address);
  return Number(line.get('pid'));
}

/**
 * Calls `open`, which connects and returns the client with the answer, until each of `workers` has given one; then
 * returns worker → client. Clients that came to a worker again are closed.
 */
export async function onEachWorker<T extends { readonly client: Client }>(
  gateway: Gateway,
  workers: readonly number[],
  open: () => Promise<T>,
): Promise<ReadonlyMap<number, T>> {
  const found = new Map<number, T>();
  for (let tries = 0; found.size < workers.length; tries += 1) {
    if (tries === mostTries)
      throw new Error(`only ${found.size} of ${workers.length} workers answered`);
    const opened = await open();
    const worker = await workerOf(gateway, opened.client);
    if (workers.includes(worker) && !found.has(worker)) found.set(worker, opened);
    else opened.client[Symbol.dispose]();
  }
  return found;
}
