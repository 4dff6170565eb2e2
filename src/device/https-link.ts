/**
 * A device that speaks HTTPS: one connection that is kept for what it sends, and one for the long poll on which its
 * commands come.
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { SecureContext } from 'node:tls';
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { codeOfAnswer, commandsIn, retryAfterMs } from './api-answer.ts';
import type { ApiAnswer } from './api-answer.ts';
import { isFinal, Refusal } from './link.ts';
import type { Address, Channel, Command, DeviceLink, LinkEvents } from './link.ts';
import { pause } from './pause.ts';
import { clientOptions, linkError } from './tls-client.ts';

/** A hundred commands of the largest size, which is more than the gateway keeps. */
const maxAnswerBytes = 1024 * 1024;
const answerMs = 30_000;
const pollSeconds = 25;
/** Between two polls when the gateway would not wait, or refused: what an error must not turn into a flood. */
const pollPauseMs = 1_000;
const longestPauseMs = 60_000;

const paths: Readonly<Record<Channel, string>> = {
  telemetry: '/api/v1/telemetry',
  status: '/api/v1/status',
  diagnostics: '/api/v1/diagnostics',
  command_responses: '/api/v1/command-responses',
};

export interface HttpsLinkOptions {
  readonly id: string;
  readonly address: Address;
  readonly context: SecureContext;
  readonly clock: Clock;
  readonly events: LinkEvents;
}

interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: Buffer;
  readonly limitMs: number;
}

export class HttpsLink implements DeviceLink {
  readonly ended: Promise<SallyportError>;
  readonly #options: HttpsLinkOptions;
  readonly #agent: Agent;
  readonly #resolveEnded: (reason: SallyportError) => void;
  readonly #underWay = new Set<ClientRequest>();
  readonly #stop = new AbortController();

  constructor(options: HttpsLinkOptions) {
    const { promise, resolve } = Promise.withResolvers<SallyportError>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#options = options;
    this.#agent = new Agent({
      ...clientOptions(options.context, options.address),
      keepAlive: true,
      maxSockets: 2,
    });
  }

  /** The first poll, which does not wait, is what the gateway lets the device in by. */
  async open(): Promise<void> {
    const first = await this.#poll(0);
    void this.#takeCommands(first);
  }

  async publish(channel: Channel, payload: Buffer): Promise<void> {
    const path = paths[channel];
    const answer = await this.#ask({ method: 'POST', path, body: payload, limitMs: answerMs });
    if (answer.status !== 202) throw this.#refused(answer);
  }

  close(): void {
    this.#end(new SallyportError('io', 'the device said goodbye'));
  }

  async #takeCommands(first: ApiAnswer): Promise<void> {
    const { clock } = this.#options;
    try {
      let answer = first;
      for (;;) {
        await this.#work(answer);
        const askedAt = clock.monotonic();
        answer = await this.#poll(pollSeconds);
        const quick = clock.monotonic() - askedAt < pollPauseMs;
        if (answer.status !== 200 && quick) await this.#pause(answer);
      }
    } catch (error) {
      this.#end(linkError(error));
    }
  }

  /** @returns 200 with commands, 204, or a refusal that is none for good. @throws SallyportError one that is. */
  async #poll(waitSeconds: number): Promise<ApiAnswer> {
    const path = `/api/v1/commands?wait=${waitSeconds}`;
    const limitMs = waitSeconds * 1_000 + answerMs;
    const answer = await this.#ask({ method: 'GET', path, limitMs });
    if (answer.status === 200 || answer.status === 204) return answer;
    const refusal = this.#refused(answer);
    // Too fast is said to one request; whatever else is wrong with a poll is wrong with the next one too.
    if (refusal.code !== 'rate') throw refusal;
    return answer;
  }

  async #work({ status, body }: ApiAnswer): Promise<void> {
    if (status !== 200) return;
    for (const command of commandsIn(body, this.#options.id)) await this.#obey(command);
  }

  async #obey(command: Command): Promise<void> {
    await this.#options.events.command(command);
    const path = `/api/v1/commands/${encodeURIComponent(command.id ?? '')}`;
    const answer = await this.#ask({ method: 'DELETE', path, limitMs: answerMs });
    // It may have expired meanwhile. When the gateway would not hear of it now, it gives the command again.
    if (answer.status !== 204 && answer.status !== 404) this.#refused(answer);
  }

  #pause(answer: ApiAnswer): Promise<boolean> {
    const ms = Math.max(pollPauseMs, retryAfterMs(answer, longestPauseMs) ?? 0);
    return pause(ms, this.#stop.signal);
  }

  /** The refusal as an error; one for good ends the link too. */
  #refused(answer: ApiAnswer): Refusal {
    const refusal = new Refusal(codeOfAnswer(answer));
    if (isFinal(refusal.code)) this.#end(refusal);
    return refusal;
  }

  /** @throws SallyportError after which the link is over. */
  async #ask(question: Question): Promise<ApiAnswer> {
    try {
      return await this.#once(question);
    } catch (error) {
      if (!this.#stop.signal.aborted && error instanceof StaleConnection)
        return this.#again(question);
      throw this.#broken(error);
    }
  }

  async #again(question: Question): Promise<ApiAnswer> {
    try {
      return await this.#once(question);
    } catch (error) {
      throw this.#broken(error);
    }
  }

  #broken(error: unknown): SallyportError {
    const reason = linkError(error);
    this.#end(reason);
    return reason;
  }

  #once({ method, path, body, limitMs }: Question): Promise<ApiAnswer> {
    if (this.#stop.signal.aborted)
      return Promise.reject(new SallyportError('io', 'the connection is over'));
    const { host, port } = this.#options.address;
    return new Promise((resolve, reject) => {
      const request = httpsRequest({
        agent: this.#agent,
        host,
        port,
        method,
        path,
        headers:
          body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': body.length },
      });
      this.#underWay.add(request);
      const limit = setTimeout(
        () => request.destroy(new SallyportError('timeout', 'the gateway did not answer in time')),
        limitMs,
      );
      request.once('response', (response) => {
        void bodyOf(response).then(
          (bytes) =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes }),
          reject,
        );
      });
      request.once('error', (error) =>
        reject(isStale(request, error) ? new StaleConnection(error) : error),
      );
      request.once('close', () => {
        clearTimeout(limit);
        this.#underWay.delete(request);
      });
      request.end(body);
    });
  }

  #end(reason: SallyportError): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(reason);
    for (const request of this.#underWay) request.destroy(reason);
    this.#agent.destroy();
    this.#resolveEnded(reason);
  }
}

/**
 * The gateway closed a connection that was kept, at the moment in which it was used again: no word about the request,
 * which a new connection carries.
 */
class StaleConnection extends SallyportError {
  constructor(cause: Error) {
    super('io', cause.message, { cause });
    this.name = 'StaleConnection';
  }
}

function isStale(request: ClientRequest, error: Error): boolean {
  const code = 'code' in error ? error.code : undefined;
  return request.reusedSocket && (code === 'ECONNRESET' || code === 'EPIPE');
}

async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    // No encoding was set, so the chunks are buffers.
    const buffer = chunk as Buffer;
    bytes += buffer.length;
    if (bytes > maxAnswerBytes)
      throw new SallyportError('malformed', 'the answer of the gateway is too large');
    chunks.push(buffer);
  }
  return Buffer.concat(chunks);
}
