/** A TCP server of this worker takes its address, which all workers share. */
import type { Server } from 'node:net';
import { SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { ListenAddress } from '../../common/ipc/snapshot.ts';

/** Connections that the kernel holds until this process accepts them. */
const backlog = 4_096;

/**
 * @param name of the listener, for the operator.
 * @returns the port, which is the system's choice when `address.port` is 0.
 * @throws SallyportError `io` when the address cannot be had.
 */
export async function listenOn(
  tcp: Server,
  name: string,
  address: ListenAddress,
  logger: Logger,
): Promise<number> {
  const { host, port } = address;
  await new Promise<void>((resolve, reject) => {
    tcp.once('error', (error) => {
      reject(
        new SallyportError('io', `cannot listen on ${host}:${port}: ${error.message}`, {
          hint: `free the port, or set listeners.${name}.port`,
          cause: error,
        }),
      );
    });
    tcp.listen({ host, port, reusePort: true, backlog }, resolve);
  });
  tcp.on('error', (error) => logger.error({ err: error.message }, 'listener failed'));
  const bound = tcp.address();
  if (bound === null || typeof bound === 'string')
    throw new SallyportError('internal', 'no address');
  return bound.port;
}
