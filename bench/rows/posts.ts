/** Devices that POST over keep-alive mTLS connections: the load of the HTTPS rows, whoever serves them. */
import { sourceAddress } from '../harness/network.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Fleet } from '../harness/sallyport.ts';
import { always, HttpConnection, postBytes } from '../load/http-connection.ts';
import type { RequestSource } from '../load/http-connection.ts';
import { steadily } from '../load/pace.ts';
import { telemetryPayload } from '../load/telemetry.ts';
import { tlsContext } from '../load/tls-client.ts';

export interface HttpsServer {
  readonly name: string;
  /** Of its first process. */
  readonly pid: number;
  readonly httpsPort: number;
  /** PEM of the root of its certificate when it is not the devices' own. */
  readonly ca?: string;
}

/** Connections, each of a device of its own. */
export const connections = 50;
/** What is sent at once queues up behind itself. */
const latencyTickMs = 1;

const telemetry = always(postBytes('/api/v1/telemetry', telemetryPayload));

export class Posts {
  readonly #server: HttpsServer;
  readonly #connections: readonly HttpConnection[];

  /** @param sourceOf what the device of that place in the fleet sends. */
  static async open(
    server: HttpsServer,
    fleet: Fleet,
    sourceOf: (device: number) => RequestSource = () => telemetry,
  ): Promise<Posts> {
    const { httpsPort: port, ca } = server;
    const devices = fleet.devices.slice(0, connections);
    const opened = await Promise.all(
      devices.map((device, i) => {
        const context = tlsContext({ ...device, ca: ca ?? device.ca });
        return HttpConnection.open({ port, localAddress: sourceAddress(i), context }, sourceOf(i));
      }),
    );
    return new Posts(server, opened);
  }

  private constructor(server: HttpsServer, opened: readonly HttpConnection[]) {
    this.#server = server;
    this.#connections = opened;
  }

  /**
   * One request of each connection under way at a time.
   *
   * @param settled what has to happen before the round is over.
   * @returns µs of CPU per request.
   */
  async cpuPerRequest(perConnection: number, settled?: () => Promise<void>): Promise<number> {
    this.#prepare(perConnection);
    const nanoseconds = await cpuWhile(this.#server.pid, async () => {
      await this.#send(perConnection);
      await settled?.();
    });
    return nanoseconds / (perConnection * this.#connections.length) / 1_000;
  }

  /** @returns requests per second of wall clock, and the times between request and answer, in ms. */
  async throughput(perConnection: number): Promise<{ perSecond: number; times: number[] }> {
    const times: number[] = [];
    this.#prepare(perConnection);
    const started = performance.now();
    await this.#send(perConnection, (milliseconds) => times.push(milliseconds));
    const seconds = (performance.now() - started) / 1_000;
    return { perSecond: times.length / seconds, times };
  }

  /**
   * Sends at a rate that the server has no trouble with, whether or not it has answered what came before.
   *
   * @returns the times between when a request was due and its answer, in ms.
   */
  async latencies(perSecond: number, seconds: number): Promise<number[]> {
    const times: number[] = [];
    const count = perSecond * seconds;
    this.#prepare(Math.ceil(count / this.#connections.length));
    const lanes = this.#connections.map((connection) => ({ connection, last: Promise.resolve() }));
    let sent = 0;
    const send = (): void => {
      const lane = lanes[sent % lanes.length];
      sent += 1;
      if (lane === undefined) return;
      const due = performance.now();
      const { connection, last } = lane;
      lane.last = last.then(() => connection.repeat(1, () => times.push(performance.now() - due)));
      // It is awaited when all have been sent.
      lane.last.catch(() => {});
    };
    await steadily(perSecond, seconds, send, latencyTickMs);
    await Promise.all(lanes.map(({ last }) => last));
    return times;
  }

  close(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #prepare(perConnection: number): void {
    for (const each of this.#connections) each.prepare(perConnection);
  }

  async #send(perConnection: number, onAnswer?: (milliseconds: number) => void): Promise<void> {
    await Promise.all(this.#connections.map((each) => each.repeat(perConnection, onAnswer)));
  }
}
