/** The part of the schema that is about one route: which messages it is about, what holds for them, where they go. */
import { count, duration, mapping, rate, secret, size } from './config-node.ts';
import { proofs, proxiedKeys } from './proxied-schema.ts';

const backend = mapping(
  'One backend. It gets CloudEvents 1.0 over HTTP POST.',
  {
    http: {
      type: 'string',
      kind: 'backend-url',
      description:
        'URL, `https://` or `http://`, without a user name. Plain `http` is what you write and never a fallback; off this machine `policy check` warns of it.',
    },
    name: {
      type: 'string',
      kind: 'name',
      description:
        'How it is called; without it `backend`. Each of several backends of a route needs one of its own: the queue before it is called `<route>/<name>`.',
    },
    batch: count(
      'Messages per request at most. 1 sends each by itself in binary mode, more as `application/cloudevents-batch+json`.',
      1,
      1,
      1_000,
    ),
    batchWait: duration('How long a batch that is not full waits for more messages.', '100ms'),
    timeout: duration(
      'For a request and its answer. Keeps a backend that hangs from holding messages for good.',
      '10s',
    ),
    requests: count(
      'Requests under way at once, over all workers. Keeps a backend from being flooded when it comes back.',
      8,
      1,
      256,
    ),
    retry: mapping(
      'Pauses before a failed request is sent again: each twice the one before, with jitter.',
      {
        min: duration('First pause.', '500ms'),
        max: duration('Longest pause.', '30s'),
      },
    ),
    ca: {
      type: 'string',
      kind: 'path',
      description:
        'PEM file with the authorities that may have signed the certificate of the backend, and no others; without it, those that Node brings.',
    },
    certificate: {
      type: 'string',
      kind: 'path',
      description:
        'PEM file with the certificate that the gateway shows to the backend, then those of its issuers. Needs `key`.',
    },
    key: secret(
      'The private key of `certificate`, PEM, not encrypted. It is read at the start and at each reload and kept in memory only.',
      { file: 'backend.key' },
    ),
  },
  { required: ['http'] },
);

const spool = mapping('With `match`: the durable queue before each backend of the route.', {
  messages: count(
    'Messages that wait for one backend. Beyond it devices are told `unavailable`, so that an outage of the backend cannot fill the disk.',
    1_000_000,
    1,
    1_000_000_000,
  ),
  bytes: {
    ...size('Bytes of the messages that wait for one backend; the same bound.', '1GiB'),
    kind: 'disk-size',
  },
  deadLetters: count(
    'Messages that a backend refused for good and that are kept for you: `route dead-letters`. Beyond it the oldest go.',
    10_000,
    1,
    1_000_000,
  ),
});

export const route = mapping(
  'One route: of messages, with `match`, or of requests, with `path` and `upstream`.',
  {
    match: {
      type: 'string',
      kind: 'topic-filter',
      description: 'Topic filter of the messages it is about.',
      example: 'devices/+/telemetry',
    },
    schema: {
      type: 'string',
      kind: 'path',
      description:
        'File with the JSON Schema (2020-12 or draft-07) of the payload or the body, relative to the configuration.',
      example: 'schemas/telemetry.json',
    },
    rate: rate(
      'Messages or requests per identity on this route; not there or `[]` is no limit.',
      [],
    ),
    payloadBytes: {
      type: 'string',
      kind: 'size',
      description: 'With `match`: bytes of one payload; without it, `limits.payloadBytes`.',
      example: '4KiB',
    },
    breaker: mapping(
      'Circuit breaker: an identity whose messages keep failing the payload checks is refused unread for a while.',
      {
        failures: {
          type: 'integer',
          minimum: 1,
          maximum: 1_000_000,
          description: 'Refused in a row that open it.',
        },
        within: {
          type: 'string',
          kind: 'duration',
          description: 'Time within which they must fall.',
        },
        open: {
          type: 'string',
          kind: 'duration',
          description: 'Time it stays open; then one message is let through to try.',
        },
      },
      {
        required: ['failures', 'within', 'open'],
        example: { failures: 20, within: '10s', open: '1m' },
      },
    ),
    to: {
      type: 'array',
      maxItems: 8,
      default: [],
      items: backend,
      description:
        'With `match`: where accepted messages go, each to every backend, at least once, in order for each device. Subscribers get them in any case.',
    },
    spool,
    ...proofs,
    ...proxiedKeys,
  },
);
