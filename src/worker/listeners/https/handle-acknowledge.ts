/** `DELETE /api/v1/commands/{id}`: the device has done with a command; it never comes again. */
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { refuseFor } from './failures.ts';
import type { RequestHead } from '../http/request-head.ts';
import { noContent } from '../http/wire.ts';

export async function handleAcknowledge(
  connection: PeerConnection,
  { subject }: Peer,
  exchange: Exchange,
  head: RequestHead,
): Promise<void> {
  const id = head.path.slice(head.path.lastIndexOf('/') + 1);
  try {
    const was = await connection.ports.mailbox.acknowledge(subject.name, id);
    if (was) exchange.answer(204, noContent);
    else exchange.refuse('not-found', 'no such command');
  } catch (error) {
    refuseFor(exchange, error);
  }
}
