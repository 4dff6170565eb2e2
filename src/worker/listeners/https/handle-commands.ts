/** `GET /api/v1/commands`: what waits for the device, at once, after a while (long poll) or as a stream of events. */
import { commandFilter } from '../../broker/commands.ts';
import type { Peer, PeerConnection } from './peer.ts';
import { EventStream } from './event-stream.ts';
import type { Exchange } from '../http/exchange.ts';
import { LongPoll } from './long-poll.ts';
import { rateFields } from '../http/rate-fields.ts';
import type { RequestHead } from '../http/request-head.ts';

/** Seconds; a NAT forgets a connection that is silent for much longer. */
const maxWaitSeconds = 60;
const waitQuery = /^wait=(0|[1-9][0-9]?)$/;
const eventId = /^[0-9A-Za-z-]{1,64}$/;

export async function handleCommands(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  head: RequestHead,
): Promise<void> {
  const filter = commandFilter(peer.subject.id);
  exchange.action = 'subscribe';
  exchange.resource = filter;
  const waitSeconds = waitOf(head.query);
  const isStream = asksForEvents(head.accept);
  const { lastEventId } = head;
  if (waitSeconds === undefined) return exchange.refuse('malformed', 'query');
  if (isStream && lastEventId !== undefined && !eventId.test(lastEventId)) {
    return exchange.refuse('malformed', 'Last-Event-ID');
  }
  const bound = peer.checks.subscribe(filter);
  const decision = await bound.decide();
  if (exchange.over) return undefined;
  exchange.more = rateFields(peer.subject.rates, bound.rates);
  if (!decision.allowed) return exchange.deny(decision);
  exchange.watches = filter;
  return isStream
    ? new EventStream(connection, peer, exchange).start(lastEventId)
    : new LongPoll(connection, peer, exchange).start(waitSeconds * 1_000);
}

/** Undefined = it does not say how long. */
function waitOf(query: string | undefined): number | undefined {
  if (query === undefined) return 0;
  const seconds = Number(waitQuery.exec(query)?.[1] ?? Number.NaN);
  return seconds <= maxWaitSeconds ? seconds : undefined;
}

function asksForEvents(accept: string): boolean {
  return accept
    .split(',')
    .some((range) => range.split(';', 1)[0]?.trim().toLowerCase() === 'text/event-stream');
}
