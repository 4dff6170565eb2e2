/**
 * Asks an issuer about its tokens (RFC 7662) at the configured URL and no other, after no redirect. Strangers make us ask
 * by sending what looks like a token: how many are asked about at once is bounded, and each of them only once.
 */
import { hash } from 'node:crypto';
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf } from '../../../common/base/errors.ts';
import { printable } from '../../../common/base/principal.ts';
import { parseStrictJson } from '../../../common/base/strict-json.ts';
import { ownOptions, secureOptions } from '../../../common/base/tls-profile.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { IntrospectionSettings } from '../../../common/ipc/credentials.ts';
import { isJsonObject } from './compact-jws.ts';
import { LastUsed } from './last-used.ts';
import type { IntrospectionAnswer, Introspector } from './ports.ts';

/** Connections to one issuer, of one worker. */
const connections = 4;
/** Of an answer: more is not read. */
const maxAnswerBytes = 65_536;
const maxHeaderBytes = 16_384;

export class IntrospectionClient implements Introspector {
  readonly #settings: IntrospectionSettings;
  readonly #clock: Clock;
  readonly #limits: () => Pick<LimitsDocument, 'introspections' | 'cachedTokens'>;
  readonly #pool: Pool;
  readonly #path: string;
  readonly #authorization: string;
  /** By hash of the token: nothing here can be used as one. */
  readonly #open = new Map<string, Promise<IntrospectionAnswer>>();
  /** Until when. */
  readonly #inactive = new LastUsed<number>();

  /** @param limits how many tokens are asked about at once, and how many that are not active are remembered. */
  constructor(
    settings: IntrospectionSettings,
    clock: Clock,
    limits: () => Pick<LimitsDocument, 'introspections' | 'cachedTokens'>,
  ) {
    const url = new URL(settings.url);
    const { ca, clientId, clientSecret } = settings;
    this.#settings = settings;
    this.#clock = clock;
    this.#limits = limits;
    this.#path = `${url.pathname}${url.search}`;
    const user = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`;
    this.#authorization = `Basic ${Buffer.from(user).toString('base64')}`;
    this.#pool = new Pool(url.origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      maxHeaderSize: maxHeaderBytes,
      connect: {
        timeout: settings.timeoutMs,
        rejectUnauthorized: true,
        ...ownOptions(false),
        secureOptions,
        ...(ca === undefined ? {} : { ca }),
      },
    });
  }

  async ask(token: string): Promise<IntrospectionAnswer> {
    const key = hash('sha256', token, 'base64');
    if ((this.#inactive.get(key) ?? 0) > this.#clock.now()) return { outcome: 'inactive' };
    const underWay = this.#open.get(key);
    if (underWay !== undefined) return underWay;
    const { introspections, cachedTokens } = this.#limits();
    if (this.#open.size >= introspections) {
      return { outcome: 'busy', reason: `it is asked about ${introspections} others` };
    }
    const answer = this.#asked(token);
    this.#open.set(key, answer);
    const { outcome } = await answer;
    this.#open.delete(key);
    const { cacheMs } = this.#settings;
    if (outcome === 'inactive' && cacheMs > 0) {
      this.#inactive.set(key, this.#clock.now() + cacheMs, cachedTokens);
    }
    return answer;
  }

  close(): void {
    if (!this.#pool.destroyed) this.#pool.destroy().catch(() => {});
  }

  async #asked(token: string): Promise<IntrospectionAnswer> {
    try {
      const response = await this.#pool.request({
        method: 'POST',
        path: this.#path,
        headers: {
          accept: 'application/json',
          authorization: this.#authorization,
          'content-type': 'application/x-www-form-urlencoded',
        },
        body: `token=${formEncoded(token)}&token_type_hint=access_token`,
        signal: AbortSignal.timeout(this.#settings.timeoutMs),
      });
      return await answerOf(response);
    } catch (error) {
      return unavailable(printable(messageOf(error)));
    }
  }
}

/** RFC 7662 section 2.2. Anything but a well-formed answer says nothing about the token. */
async function answerOf({
  statusCode,
  headers,
  body,
}: Dispatcher.ResponseData): Promise<IntrospectionAnswer> {
  // To its end, whatever it is: a connection that was read from can be used again.
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    // undici hands out nothing else; its type is that of any stream.
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > maxAnswerBytes) return unavailable('an answer without end');
    chunks.push(piece);
  }
  if (statusCode !== 200) return unavailable(`it answers ${statusCode}`);
  const type = headers['content-type'];
  if (typeof type !== 'string' || !/^application\/json(?:[ ;]|$)/i.test(type)) {
    return unavailable('an answer of another type');
  }
  const read = parseStrictJson(Buffer.concat(chunks));
  if (!read.ok) return unavailable(`an answer that is no JSON: ${read.problem}`);
  const claims = read.value;
  if (!isJsonObject(claims)) return unavailable('an answer that is no object');
  if (claims['active'] === true) return { outcome: 'active', claims };
  return claims['active'] === false
    ? { outcome: 'inactive' }
    : unavailable('an answer without "active"');
}

function unavailable(reason: string): IntrospectionAnswer {
  return { outcome: 'unavailable', reason };
}

/** RFC 6749 section 2.3.1: before they become a user's name and password. */
function formEncoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1);
}
