/** `openssl ocsp` as a responder: a CA on P-256 that signs its answers itself, and one certificate in its index. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { issueLeaf, makeAuthority } from '../../test/harness/openssl.ts';
import { until } from '../../test/harness/waiting.ts';
import { onServerCore } from './machine.ts';
import { freePort } from './network.ts';
import { Daemon, scratchFolder } from './scratch.ts';

export class OpensslOcsp implements AsyncDisposable {
  readonly port: number;
  /** DER, with a nonce at its end. */
  readonly request: Buffer;
  readonly #daemon: Daemon;

  static async start(): Promise<OpensslOcsp> {
    const folder = scratchFolder('ocsp');
    const authority = makeAuthority(folder, 'Peer CA');
    // `openssl ca`, which issues it, writes the index that `openssl ocsp` answers from.
    const leaf = issueLeaf(authority, folder, 'd1', authority.crt, { subject: '/CN=d1' });
    const request = ocspRequest(folder, authority.crt, leaf.crt);
    const port = await freePort();
    const log = join(folder, 'log');
    const index = join(folder, 'openssl-ca.txt');
    const files = ['-index', index, '-CA', authority.crt, '-rsigner', authority.crt];
    const command = [...files, '-rkey', authority.key, '-nmin', '60', '-port', String(port)];
    const daemon = new Daemon([...onServerCore, 'openssl', 'ocsp', ...command], log);
    // It ends when somebody connects and says nothing, so nobody may try whether it listens.
    await until('openssl ocsp to listen', 10_000, () => {
      const said = readFileSync(log, 'utf8');
      if (daemon.ended) throw new Error(`openssl ocsp ended: ${said}`);
      return said.includes('waiting for OCSP client connections');
    });
    return new OpensslOcsp(daemon, port, request);
  }

  private constructor(daemon: Daemon, port: number, request: Buffer) {
    this.#daemon = daemon;
    this.port = port;
    this.request = request;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}

/** @param more `-no_nonce`. @returns DER of a request; a nonce is its last 16 bytes. */
export function ocspRequest(
  folder: string,
  issuer: string,
  certificate: string,
  ...more: readonly string[]
): Buffer {
  const path = join(folder, 'request.der');
  const args = ['ocsp', '-issuer', issuer, '-cert', certificate, ...more, '-reqout', path];
  execFileSync('openssl', args, { stdio: 'ignore' });
  return readFileSync(path);
}

/** The certificates of a chain in files of their own, leaf first. */
export function splitChain(folder: string, chain: string): string[] {
  const pems = readFileSync(chain, 'utf8').split(/(?<=-----END CERTIFICATE-----\n)/);
  return pems.map((pem, i) => {
    const path = join(folder, `chain-${i}.pem`);
    writeFileSync(path, pem);
    return path;
  });
}
