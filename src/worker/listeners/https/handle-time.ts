/** `GET /api/v1/time`: for a device whose clock cannot be trusted yet. */
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { json } from '../http/wire.ts';

export function handleTime({ ports }: PeerConnection, _peer: Peer, exchange: Exchange): undefined {
  const now = ports.clock.now();
  const unixMs = Math.floor(now);
  const time = { time: new Date(unixMs).toISOString(), unix_ms: unixMs };
  const body = Buffer.from(JSON.stringify(time));
  exchange.answer(200, json(body.length), body);
}
