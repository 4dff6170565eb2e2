/** What the gateway counts: `/metrics`, asked for on its unix socket as an operator on the machine can. */
import { request } from 'node:http';
import { join } from 'node:path';
import type { Gateway } from './gateway.ts';

export async function readMetrics(gateway: Gateway): Promise<Metrics> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socketPath = join(gateway.dataDir, 'control', 'admin.sock');
  const get = request(
    { socketPath, path: '/metrics', agent: false, timeout: 30_000 },
    (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        body += part;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`/metrics: ${response.statusCode ?? 0} ${body}`));
      });
    },
  );
  get.on('error', reject);
  get.on('timeout', () => get.destroy(new Error('/metrics does not answer')));
  get.end();
  return new Metrics(await promise);
}

export class Metrics {
  readonly #text: string;

  constructor(exposition: string) {
    this.#text = exposition;
  }

  /** Of one series over all workers; the labels are those that the worker gave it. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    let sum = 0;
    for (const line of this.#text.split('\n')) {
      const [, series, given = '', value] = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line) ?? [];
      if (series !== name) continue;
      const wanted = Object.entries(labels).every(([key, each]) =>
        given.includes(`${key}="${each}"`),
      );
      if (wanted) sum += Number(value);
    }
    return sum;
  }
}
