/**
 * The way from the command line to the running gateway: HTTP over the Unix socket in `<data>/control`.
 */
import { request as httpRequest } from 'node:http';
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { isErrorCode, messageOf, SallyportError } from '../common/base/errors.ts';
import type { CommandContext } from './context.ts';
import { supervisorLives } from './supervisor-lives.ts';

/** An answer is a page of a list at most. */
const maxAnswerBytes = 16 * 1024 * 1024;
const timeoutMs = 120_000;
/** Replacing the processes waits for new workers to start and, one after the other, for the old ones to drain. */
const slowTimeoutMs = 10 * 60_000;
const slowPaths: ReadonlySet<string> = new Set(['/v1/reload-processes']);

/**
 * @returns the JSON of the answer; undefined for an empty one.
 * @throws SallyportError what the gateway answered; `not-running` when there is none, `unavailable` while its control
 *   restarts, `timeout`, `io`.
 */
export async function askGateway(
  context: CommandContext,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
): Promise<unknown> {
  const socket = connectTo(context.dataDir);
  const { status, text } = await exchange(context, socket, method, path, body);
  const answer = text === '' ? undefined : parseAnswer(text);
  if (status < 200 || status > 299) throw problemIn(answer, status);
  return answer;
}

/**
 * The path of a Unix socket may be 107 bytes long and a data directory may be anywhere: connect with a relative path
 * from inside its directory. Connecting to a pipe looks the path up before it returns, so nothing else ever runs with
 * the changed directory.
 */
function connectTo(dataDir: string): Socket {
  const home = process.cwd();
  try {
    process.chdir(join(dataDir, 'control'));
  } catch (error) {
    throw unreachable(dataDir, error);
  }
  try {
    return createConnection({ path: 'admin.sock' });
  } finally {
    process.chdir(home);
  }
}

interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

function exchange(
  context: CommandContext,
  socket: Socket,
  method: string,
  path: string,
  body: object | undefined,
): Promise<RawAnswer> {
  const payload = method === 'GET' ? undefined : Buffer.from(JSON.stringify(body ?? {}));
  const headers = {
    host: 'localhost',
    ...(context.uid === undefined ? {} : { 'sallyport-uid': String(context.uid) }),
    ...(payload === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': payload.length }),
  };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        method,
        path,
        headers,
        createConnection: () => socket,
        timeout: slowPaths.has(path) ? slowTimeoutMs : timeoutMs,
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > maxAnswerBytes)
            request.destroy(new SallyportError('internal', 'the answer is too large'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      },
    );
    request.on('timeout', () =>
      request.destroy(new SallyportError('timeout', 'the gateway does not answer')),
    );
    request.on('error', (error) =>
      reject(error instanceof SallyportError ? error : unreachable(context.dataDir, error)),
    );
    request.end(payload);
  });
}

function unreachable(dataDir: string, error: unknown): SallyportError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EACCES' || code === 'EPERM') {
    return new SallyportError('forbidden', `you may not reach the gateway of ${dataDir}`, {
      hint: 'run this as the user who started it, or as root',
      cause: error,
    });
  }
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ECONNREFUSED') {
    if (supervisorLives(dataDir)) {
      return new SallyportError('unavailable', 'control is restarting', {
        hint: 'try again in a moment',
        cause: error,
      });
    }
    return new SallyportError('not-running', `no gateway runs on ${dataDir}`, {
      hint: `start one with "npm start" or "sallyport up --data ${dataDir}", or name its folder with --data`,
      cause: error,
    });
  }
  return new SallyportError('io', `the connection to the gateway broke: ${messageOf(error)}`, {
    hint: 'try again; if it stays so, see the log of the gateway',
    cause: error,
  });
}

function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SallyportError('io', 'the gateway answered what is no JSON', { cause: error });
  }
}

/** The problem document (RFC 9457) of the gateway as the error it was there. */
function problemIn(answer: unknown, status: number): SallyportError {
  const fields = new Map<string, unknown>(
    typeof answer === 'object' && answer !== null ? Object.entries(answer) : [],
  );
  const code = fields.get('code');
  const detail = fields.get('detail');
  const hint = fields.get('hint');
  // What was wrong with the question is in no log.
  const next = code === 'usage' ? 'correct it: see --help' : 'see the log of the gateway';
  return new SallyportError(
    isErrorCode(code) ? code : 'internal',
    typeof detail === 'string'
      ? detail
      : `the gateway refused (${isErrorCode(code) ? code : status})`,
    { hint: typeof hint === 'string' ? hint : next },
  );
}
