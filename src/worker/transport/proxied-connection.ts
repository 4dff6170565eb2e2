/**
 * Connections that load balancers pass on: their PROXY header is read off the socket before anything else is, exactly
 * and in bounded time. Everything after it stays in the socket for TLS, so that no byte of a stranger's is taken for the
 * balancer's or the other way round.
 */
import { BlockList, isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import { fixedBytes, readFixedPart, sourceIn } from './proxy-header.ts';
import type { ConnectionSource, FixedPart } from './proxy-header.ts';

/** The addresses whose word about a source is taken. */
export class LoadBalancers {
  readonly #networks = new BlockList();
  readonly #areThere: boolean;

  /** @param networks `10.0.0.0/8`, `2001:db8::/32`, checked by the configuration. */
  constructor(networks: readonly string[]) {
    this.#areThere = networks.length > 0;
    for (const network of networks) {
      const [address = '', prefix = ''] = network.split('/');
      this.#networks.addSubnet(address, Number(prefix), isIPv6(address) ? 'ipv6' : 'ipv4');
    }
  }

  has(address: string): boolean {
    return this.#areThere && this.#networks.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
}

export interface ProxiedOutcome {
  /** Undefined: the balancer speaks for itself. */
  readonly found: (source: ConnectionSource | undefined) => void;
  readonly refused: (problem: string) => void;
}

/** Reads the header of a socket from which nothing has been read. One of the two is called, unless it closes before. */
export function readProxyHeader(
  socket: Socket,
  limitMs: number,
  { found, refused }: ProxiedOutcome,
): void {
  let fixed: Extract<FixedPart, { ok: true }> | undefined;
  const timer = setTimeout(() => stop(() => refused('no PROXY header in time')), limitMs);
  const stop = (then: () => void): void => {
    clearTimeout(timer);
    socket.off('readable', look);
    socket.off('end', ended);
    socket.off('close', gone);
    then();
  };
  const gone = (): void => stop(() => {});
  const ended = (): void => stop(() => refused('closed before the PROXY header'));
  const look = (): void => {
    fixed ??= fixedPart();
    if (fixed === undefined) return;
    const { command, family, restBytes } = fixed;
    const rest = restBytes === 0 ? Buffer.alloc(0) : taken(socket, restBytes);
    if (rest === undefined) return;
    stop(() =>
      found(command === 'local' || family === undefined ? undefined : sourceIn(family, rest)),
    );
  };
  const fixedPart = (): Extract<FixedPart, { ok: true }> | undefined => {
    const head = taken(socket, fixedBytes);
    if (head === undefined) return undefined;
    const part = readFixedPart(head);
    if (part.ok) return part;
    stop(() => refused(part.problem));
    return undefined;
  };
  socket.on('readable', look);
  socket.on('end', ended);
  socket.on('close', gone);
  // It was accepted without being read from.
  socket.read(0);
}

/** So many bytes, or undefined while there are fewer; what comes after them stays where it is. */
function taken(socket: Socket, bytes: number): Buffer | undefined {
  if (socket.readableLength < bytes) {
    // Asks for more without taking what is there.
    socket.read(0);
    return undefined;
  }
  const chunk: unknown = socket.read(bytes);
  return Buffer.isBuffer(chunk) ? chunk : undefined;
}
