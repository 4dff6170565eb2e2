/** curl as Debian ships it: an HTTPS client that knows nothing of the gateway. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Gateway, Identity } from './gateway.ts';

export interface CurlAnswer {
  readonly status: number;
  readonly body: string;
}

const limitSeconds = 60;

/** One request with the device's certificate. @throws when there is no answer. */
export async function curl(
  gateway: Gateway,
  { ca, crt, key }: Identity,
  path: string,
  ...extra: readonly string[]
): Promise<CurlAnswer> {
  const tls = ['--cacert', ca, '--cert', crt, '--key', key];
  const url = `https://localhost:${gateway.httpsPort}${path}`;
  const output = ['-sS', '--max-time', String(limitSeconds), '-w', '\n%{http_code}'];
  const { stdout } = await promisify(execFile)('curl', [...output, ...tls, ...extra, url]);
  const end = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}
