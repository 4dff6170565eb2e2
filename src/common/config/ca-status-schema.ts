/** How the gateway's CA tells others which of its certificates still hold: keys of `ca`. */
import { count, duration, mapping } from './config-node.ts';
import type { ConfigNode } from './config-node.ts';

export const caStatus: Readonly<Record<string, ConfigNode>> = {
  statusUrl: {
    type: ['string', 'boolean'],
    kind: 'status-url',
    onlyFalse: true,
    description:
      'Where others reach the status listener, `http://`: the certificates that the gateway issues say that their revocation list, OCSP and the CA are found there. Left out: the first of `serverNames` that is not this machine itself (`localhost`, `127.0.0.1`), at the port of `listeners.status`; certificates say nothing of it when there is none. `false`: certificates say nothing of it, which saves some 200 bytes of each handshake. It is in a certificate for as long as that lives.',
    example: 'http://status.fleet.example',
  },
  crl: mapping('The revocation lists of the CA (RFC 5280), complete and delta.', {
    interval: duration(
      'How often they are issued anew. Besides, whenever something is revoked.',
      '1h',
    ),
    validity: duration(
      'How long a complete list may be used: for so long others go on while control is down, and for so long they may not know of a revocation. Twice the interval or more.',
      '3d',
    ),
    deltaValidity: duration('The same of a delta list.', '6h'),
  }),
  ocsp: mapping('OCSP answers of the CA (RFC 6960).', {
    validity: duration(
      'How long an answer may be used; one that is asked for again is renewed after half of it.',
      '1h',
    ),
    stapleValidity: duration(
      'The same of the answers about the server certificate, which TLS listeners hand out with it.',
      '3d',
    ),
    keptAnswers: count(
      'Certificates whose answers control keeps, some 2 kB each, so that they need not be signed for everybody who asks. Bounds memory.',
      20_000,
      1,
      1_000_000,
    ),
    signaturesPerSecond: count(
      'Answers that control signs in a second, for all workers; more are told to try later. Bounds what strangers can take of control or of a hardware key.',
      500,
      1,
      100_000,
    ),
  }),
};
