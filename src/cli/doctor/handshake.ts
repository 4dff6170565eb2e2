/** One try at a TLS handshake, with everything that it can tell: how far it came, and what the server showed. */
import type { X509Certificate } from 'node:crypto';
import { connect as connectTcp, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { ClientCredentials } from './credentials.ts';

export interface Target {
  readonly host: string;
  readonly port: number;
  /** The name that the server's certificate must have. */
  readonly name: string;
  /** For each step. */
  readonly limitMs: number;
}

export interface Offer {
  readonly groups: string;
  readonly ciphers: string;
  readonly minVersion: 'TLSv1' | 'TLSv1.2';
  readonly client: ClientCredentials | undefined;
}

export type Handshake =
  | { readonly reached: 'nothing'; readonly code: string; readonly message: string }
  | {
      readonly reached: 'tcp';
      /** Node's or OpenSSL's code; `TIMEOUT` when nothing more came, `CLOSED` when the server hung up without a word. */
      readonly code: string;
      readonly message: string;
      readonly bytesRead: number;
    }
  | { readonly reached: 'tls'; readonly socket: TLSSocket; readonly facts: HandshakeFacts };

export interface HandshakeFacts {
  readonly protocol: string;
  readonly cipher: string;
  /** Key exchange group; undefined when the library does not tell. */
  readonly group: string | undefined;
  /** Of the server until the handshake was done. */
  readonly bytesRead: number;
  /** As the server sent it, leaf first. */
  readonly chain: readonly X509Certificate[];
}

/** No chain is longer. */
const maxChain = 16;

/** Never rejects. The caller ends the socket of a handshake that was done. */
export async function shakeHands(target: Target, offer: Offer): Promise<Handshake> {
  const opened = await openTcp(target);
  return 'code' in opened ? { reached: 'nothing', ...opened } : overTcp(opened, target, offer);
}

function openTcp({
  host,
  port,
  limitMs,
}: Target): Promise<Socket | { code: string; message: string }> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const timer = setTimeout(() => {
      socket.destroy();
      resolve({ code: 'TIMEOUT', message: 'no answer' });
    }, limitMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      resolve({ code: error.code ?? 'ERROR', message: error.message });
    });
  });
}

function overTcp(tcp: Socket, target: Target, offer: Offer): Promise<Handshake> {
  return new Promise((resolve) => {
    const failed = (code: string, message: string): void => {
      clearTimeout(timer);
      resolve({ reached: 'tcp', code, message, bytesRead: tcp.bytesRead });
      socket.destroy();
      tcp.destroy();
    };
    const timer = setTimeout(() => failed('TIMEOUT', 'no answer'), target.limitMs);
    tcp.on('error', (error: NodeJS.ErrnoException) => failed(error.code ?? 'ERROR', error.message));
    const socket = connectTls(optionsOf(tcp, target, offer));
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      resolve({ reached: 'tls', socket, facts: factsOf(socket, tcp) });
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      failed(error.code ?? 'ERROR', error.message),
    );
    socket.once('close', () => failed('CLOSED', 'the connection was closed'));
  });
}

function optionsOf(tcp: Socket, { name }: Target, offer: Offer): ConnectionOptions {
  const { client } = offer;
  return {
    socket: tcp,
    // The doctor judges; a library that hangs up at the first fault would hide the others.
    rejectUnauthorized: false,
    // No store of its own: `issuerCertificate` is then what the server sent and nothing else.
    ca: [],
    minVersion: offer.minVersion,
    maxVersion: 'TLSv1.3',
    ciphers: offer.ciphers,
    ecdhCurve: offer.groups,
    ...(client === undefined
      ? {}
      : { cert: client.pem, key: client.key.export({ type: 'pkcs8', format: 'pem' }) }),
    ...(isIP(name) === 0 ? { servername: name } : {}),
  };
}

function factsOf(socket: TLSSocket, tcp: Socket): HandshakeFacts {
  const key = socket.getEphemeralKeyInfo();
  const group =
    key !== null && 'name' in key && typeof key.name === 'string' ? key.name : undefined;
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().standardName,
    group,
    bytesRead: tcp.bytesRead,
    chain: chainOf(socket),
  };
}

function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next !== undefined && chain.length < maxChain) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
