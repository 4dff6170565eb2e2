/** Addresses and ports on loopback. */
import { connect, createServer } from 'node:net';
import { until } from '../../test/harness/waiting.ts';

/** For servers that cannot be told to take any free port. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Resolves when somebody listens there. @param hasEnded ends the wait with `why`. */
export async function listening(
  port: number,
  hasEnded: () => boolean,
  why: () => string,
): Promise<void> {
  await until(`a listener on ${port}`, 10_000, () => {
    if (hasEnded()) throw new Error(why());
    return canConnect(port);
  });
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Hosts of a /24 but its first and its last. */
const hostsPerNetwork = 254;

/** An address of 127.0.0.0/8 for every client: limits are by source, and each address has ports of its own. */
export function sourceAddress(index: number): string {
  const network = Math.floor(index / hostsPerNetwork);
  return `127.${1 + (network >> 8)}.${network & 0xff}.${1 + (index % hostsPerNetwork)}`;
}
