/** `GET /.well-known/jwks.json`: the public keys with which what the gateway signs is verified (RFC 7517 §5). */
import type { Peer, PeerConnection } from './peer.ts';
import type { HttpsPorts } from './ports.ts';
import type { Exchange } from '../http/exchange.ts';
import { onlyHeaders } from '../http/wire.ts';

export const keySetPath = '/.well-known/jwks.json';
/** A key is published longer than this before anything is signed with it, and after. */
const cacheControl = 'private, max-age=300';

export function handleKeySet(
  { ports }: PeerConnection,
  _peer: Peer,
  exchange: Exchange,
): undefined {
  return giveKeySet(ports, exchange);
}

export function giveKeySet({ assertions }: HttpsPorts, exchange: Exchange): undefined {
  const { keySet } = assertions;
  const type = [
    'Content-Type',
    'application/jwk-set+json',
    'Content-Length',
    String(keySet.length),
  ];
  const said = ['Cache-Control', cacheControl, 'X-Content-Type-Options', 'nosniff'];
  exchange.answer(200, onlyHeaders(...type, ...said), keySet);
}
