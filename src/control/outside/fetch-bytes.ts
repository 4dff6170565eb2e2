/**
 * Something small from a URL that the configuration names, and from nowhere else: bounded in size and in time as a whole;
 * redirects are not followed, nothing is unpacked. What comes is nothing but bytes until somebody has judged it.
 */
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { RequestOptions } from 'node:https';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { ownOptions } from '../../common/base/tls-profile.ts';
import { CollectedBytes } from './collected-bytes.ts';

export interface FetchOptions {
  readonly maxBytes: number;
  /** From the request to the end of its answer. */
  readonly timeoutMs: number;
  /** Media types. */
  readonly accept: string;
  /** PEM of the only authorities that may vouch for the server; those that Node brings when left out. */
  readonly ca?: string | undefined;
  /** TLS with nothing but approved algorithms; Node's own choice when left out. */
  readonly approvedOnly?: boolean | undefined;
}

/** @throws SallyportError `io` when it cannot be had, `timeout`, `too-large`. */
export async function fetchBytes(url: string, options: FetchOptions): Promise<Buffer> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  try {
    const response = await answer(url, signal, options);
    try {
      return await bodyOf(response, options.maxBytes);
    } finally {
      response.destroy();
    }
  } catch (thrown) {
    // However the stream put it: the time was over.
    if (signal.aborted) {
      throw new SallyportError('timeout', `it did not come within ${options.timeoutMs} ms`);
    }
    if (thrown instanceof SallyportError) throw thrown;
    throw new SallyportError('io', messageOf(thrown), { cause: thrown });
  }
}

function answer(url: string, signal: AbortSignal, options: FetchOptions): Promise<IncomingMessage> {
  const { accept, ca, approvedOnly } = options;
  const request = url.startsWith('https:') ? httpsRequest : httpRequest;
  const tls: RequestOptions = {
    ...(approvedOnly === true ? ownOptions(true) : {}),
    ...(ca === undefined ? {} : { ca }),
  };
  return new Promise((resolve, reject) => {
    const headers = { accept, 'accept-encoding': 'identity' };
    const asked = request(url, { signal, agent: false, headers, ...tls }, resolve);
    asked.on('error', reject);
    // Of an answer that changes the protocol node:http tells nobody: it closes the connection, and the time limit with it.
    asked.once('close', () => reject(new SallyportError('io', 'the server gave no answer')));
    asked.end();
  });
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const { statusCode = 0, headers } = response;
  if (statusCode !== 200) {
    const more = statusCode >= 300 && statusCode < 400 ? '; redirects are not followed' : '';
    throw new SallyportError('io', `the server answered ${statusCode}${more}`);
  }
  if (headers['content-encoding'] !== undefined) {
    throw new SallyportError('io', 'the server has encoded it, which was not asked for');
  }
  const collected = new CollectedBytes(maxBytes, Number(headers['content-length'] ?? 0));
  for await (const piece of response) collected.add(piece as Buffer); // no encoding was set
  return collected.whole();
}
