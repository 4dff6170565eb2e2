/**
 * The whole configuration as one JSON Schema: what is accepted, what each key is for, and what it is when it is not
 * there. Validation, defaults, `sallyport init` and docs/configuration.md all come from here.
 */
import { caKeyKinds } from '../base/key-kinds.ts';
import { groups } from '../base/tls-profile.ts';
import { builtInRoles } from './built-in-roles.ts';
import { caStatus } from './ca-status-schema.ts';
import { count, duration, mapping, secret, size } from './config-node.ts';
import type { ConfigNode } from './config-node.ts';
import { maxWorkers, staleRules } from './config.ts';
import { enrolment } from './enrolment-schema.ts';
import { limits, rates } from './limits-schema.ts';
import { cloneRules } from './policy-document.ts';
import { pkcs11 } from './pkcs11-schema.ts';
import { route } from './route-schema.ts';
import { tokens } from './tokens-schema.ts';

function later(description: string, reason: string): ConfigNode {
  return { type: 'object', description, default: {}, notYet: { accepts: 'empty', reason } };
}

const port: ConfigNode = {
  type: 'integer',
  minimum: 0,
  maximum: 65_535,
  description: 'Port; 0 = any free port.',
};

/** Of the listeners for devices. */
const proxy: Readonly<Record<string, ConfigNode>> = {
  proxy: {
    type: 'array',
    maxItems: 64,
    default: [],
    items: { type: 'string', kind: 'network' },
    description:
      'Networks of the load balancers before it. Connections from these, and from these only, begin with a PROXY protocol header, version 2, whose source address then counts for limits and logs; without one they are closed.',
    example: ['10.0.8.0/28'],
  },
};

const origins: ConfigNode = {
  type: 'array',
  maxItems: 64,
  default: [],
  items: { type: 'string', kind: 'origin' },
  description:
    'Web pages that may open MQTT over WebSocket, besides those that came from `serverNames` over https. Keeps a page of somebody else from using the certificate in a browser; clients that are no browsers send no `Origin` and need no mention.',
  example: ['https://console.fleet.example'],
};

function listener(
  description: string,
  host: string,
  number: number,
  more: Readonly<Record<string, ConfigNode>> = {},
): ConfigNode {
  return mapping(
    `${description} \`false\` switches it off.`,
    {
      host: { type: 'string', kind: 'host', description: 'Address to listen on.', default: host },
      port: { ...port, default: number },
      ...more,
    },
    { type: ['object', 'boolean'], onlyFalse: true },
  );
}

/** Off unless it is written: it is a second way in. */
function signedListener(description: string, number: number): ConfigNode {
  const node = listener(description, '0.0.0.0', number, proxy);
  return { ...node, default: false, example: { host: '0.0.0.0', port: number } };
}

function missingListener(description: string): ConfigNode {
  return {
    type: ['object', 'boolean'],
    description,
    default: false,
    notYet: {
      accepts: 'listener',
      reason: 'write false, or the host and port that it is to have; nothing listens there yet',
    },
  };
}

const filters = (description: string): ConfigNode => ({
  type: 'array',
  description,
  default: [],
  maxItems: 1_000,
  items: { type: 'string', kind: 'role-filter' },
});

const grants = (description: string, verb: string): ConfigNode =>
  mapping(description, {
    publish: filters(`Filters of topics it ${verb} publish to.`),
    subscribe: filters(
      `Filters it ${verb} subscribe to; a wider filter is refused, never narrowed.`,
    ),
    request: {
      type: 'array',
      description: `Requests on proxied routes it ${verb} make: a method, or \`*\`, and a path as a route has it, \`GET /backend/\`.`,
      default: [],
      maxItems: 1_000,
      items: { type: 'string', kind: 'role-request' },
    },
  });

const role = mapping('One role.', {
  allow: grants('What the role may do.', 'may'),
  deny: grants('What it may not do; wins over `allow`.', 'may not'),
});

const revocationLists = mapping(
  'Its revocation lists (RFC 5280). Without this nobody asks whether it has revoked a certificate.',
  {
    from: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', kind: 'crl-source' },
      description:
        'URLs, `http://` or `https://`, and files: one for each authority of the anchor that signs certificates, and each part of a list that is in parts. Nothing is ever fetched from where a certificate says, and redirects are not followed. A file is read by control, whose user must be able to; one that is new to the configuration can be read after `reload --processes`.',
    },
    whenStale: {
      enum: staleRules,
      default: 'fail-closed',
      description:
        'What holds as long as a list is missing, or its authority was to have replaced it: `fail-closed` lets in nobody under this anchor and ends the connections that are open; `warn` serves with what was revoked last. Both are an error in the log, an audit line and `sallyport_trust_anchor_crl_current`.',
    },
    every: duration('How often the lists are fetched; before one ends, sooner.', '1h'),
    timeout: duration(
      'For a list to be there as a whole. Bounds what a slow server can hold.',
      '30s',
    ),
    maxBytes: size(
      'Bytes of a list. Bounds the memory of control; each revoked certificate costs control and every worker about 30 bytes.',
      '16MiB',
    ),
    keepDays: count(
      'Days for which a certificate stays revoked here that has vanished from its list, unless it was only on hold or is known to have expired: a list may not take a revocation back (RFC 5280 section 3.3).',
      1_095,
      1,
      36_500,
    ),
  },
  { required: ['from'] },
);

const trustAnchor = mapping(
  'One certificate authority.',
  {
    name: {
      type: 'string',
      kind: 'name',
      description:
        "How it is called in `device list` and in logs; `internal` is the gateway's own.",
    },
    file: {
      type: 'string',
      kind: 'path',
      description:
        'PEM file with the root and every CA that signs the certificates itself; a chain that clients send is not followed.',
    },
    kind: {
      enum: ['device', 'service', 'operator'],
      default: 'device',
      description: 'What its certificates name.',
    },
    role: {
      type: 'string',
      kind: 'name',
      default: 'device',
      description: 'Role of the identities it names.',
    },
    from: {
      enum: ['cn', 'san-dns', 'san-uri', 'serial-number'],
      default: 'cn',
      description: 'Where in the certificate the id is.',
    },
    prefix: {
      type: 'string',
      kind: 'id-prefix',
      default: '',
      description: 'Put before the id, so that two authorities cannot name the same identity.',
    },
    register: {
      enum: ['auto', 'known'],
      default: 'known',
      description:
        '`auto` registers an id when it first connects; `known` refuses ids that are not registered.',
    },
    crl: revocationLists,
  },
  { required: ['name', 'file'] },
);

const stage = (what: string): string => `${what} cannot be configured yet; leave the key out`;

export const configSchema: ConfigNode = mapping('', {
  trustDomain: {
    type: 'string',
    kind: 'trust-domain',
    default: 'fleet.internal',
    description:
      'The SPIFFE trust domain in every certificate: `spiffe://<trustDomain>/device/<id>`. Changing it later means new certificates for every device.',
  },
  serverNames: {
    type: 'array',
    minItems: 1,
    maxItems: 64,
    default: ['localhost', '127.0.0.1'],
    items: { type: 'string', kind: 'server-name' },
    description:
      'DNS names and IP addresses under which devices reach the gateway; they go into the server certificate.',
  },
  listeners: mapping('Where the gateway listens.', {
    mqtts: listener(
      'MQTT 5 and 3.1.1 over TLS; a client certificate is required.',
      '0.0.0.0',
      8883,
      proxy,
    ),
    https: listener(
      'Device API over HTTPS, HTTP/1.1, and MQTT over WebSocket at `/mqtt`; a client certificate is required.',
      '0.0.0.0',
      8443,
      { ...proxy, origins },
    ),
    httpsSigned: signedListener(
      'The device API and proxied routes over HTTPS for those who have no client certificate: each request carries a signature or a token. Only what is on a route whose `authenticate` says so is open.',
      8444,
    ),
    mqttsSigned: signedListener(
      'MQTT over TLS for devices that have no client certificate: the user name is the id, the password a JWT that the device has signed with its registered key. Only what is on a route whose `authenticate` says so is open.',
      8884,
    ),
    est: listener(
      'Enrolment and renewal of certificates by EST (RFC 7030); a client certificate is asked for, and anybody may connect.',
      '0.0.0.0',
      8447,
      proxy,
    ),
    coaps: missingListener('CoAP over DTLS.'),
    coapsTcp: missingListener('CoAP over TLS.'),
    amqps: missingListener('AMQP 1.0 over TLS.'),
    status: listener(
      'OCSP, CRLs, CA certificates and signed time over plain HTTP, for anybody: everything it says is signed or public.',
      '0.0.0.0',
      8080,
      proxy,
    ),
    admin: listener(
      'For operators: the admin API and `/metrics`. Keep it on an address that devices cannot reach.',
      '127.0.0.1',
      9443,
    ),
  }),
  tls: mapping('TLS of every listener. Only ECDHE with AEAD ciphers, whatever is set here.', {
    minVersion: {
      enum: ['1.2', '1.3'],
      default: '1.2',
      description: 'Oldest version that is accepted.',
    },
    groups: {
      type: 'array',
      minItems: 1,
      maxItems: 8,
      default: groups,
      items: { enum: groups },
      description: 'Key exchange groups, most wanted first.',
    },
    approvedOnly: {
      type: 'boolean',
      default: false,
      description:
        'Keeps TLS, certificates and signatures to algorithms that FIPS 140-3 approves of: no TLS 1.2, no X25519 by itself, no ChaCha20-Poly1305, for devices, operators and backends alike. The log of the start says what that rules out; see algorithms.md. It chooses algorithms; it does not make of OpenSSL a validated module.',
    },
    ticketRotation: duration(
      'How often the keys of session tickets are replaced, in all workers at once; 1h or more. Whoever takes a worker over cannot open what was recorded before the last time. Tickets of before are refused, so a device that comes back with one makes one full handshake. Takes effect when the gateway is started anew.',
      '8h',
    ),
  }),
  ca: mapping("The gateway's certificate authority, and others whose certificates it accepts.", {
    masterKey: secret(
      'The key that seals the CA keys; 32 bytes or more. Without it, one is made in the data directory, which then must be guarded like the keys themselves.',
      { credential: 'sallyport-master' },
    ),
    keyKind: {
      enum: caKeyKinds,
      default: 'P-256',
      description:
        'Kind of the CA keys that are made from now on: by the first start, and by `ca rotate` for the generation after the one whose key is made already. `ML-DSA-65` (FIPS 204) is for fleets of which every device can verify it, for it signs the certificate of the gateway too. See algorithms.md.',
    },
    pkcs11,
    deviceDays: count(
      'Days a device certificate is valid. Over EST a device gets the next one by itself, from `enrolment.renewalDays` before the end on; one that cannot do that is to be enrolled again before.',
      730,
      1,
      3_650,
    ),
    serverDays: count('Days the server certificate is valid; it is renewed by itself.', 90, 1, 825),
    ...caStatus,
    trustAnchors: {
      type: 'array',
      maxItems: 64,
      default: [],
      items: trustAnchor,
      description: 'Certificate authorities of your own.',
      example: [{ name: 'factory', file: 'factory-ca.pem', from: 'cn', prefix: 'factory-' }],
    },
  }),
  enrolment,
  roles: {
    type: 'object',
    description: `What principals may publish, subscribe to and request, by role: every device has \`device\`, a service the one it was created with. Nothing is allowed that no filter allows. Filters are MQTT topic filters in which \`\${id}\` as a whole level stands for the principal's id. ${Object.keys(
      builtInRoles,
    )
      .map((r) => `\`${r}\``)
      .join(' and ')} are built in; a role of the same name replaces one.`,
    default: builtInRoles,
    propertyNames: { type: 'string', kind: 'name' },
    additionalProperties: role,
    maxProperties: 256,
  },
  routes: {
    type: 'object',
    description:
      'What holds for the messages of a topic filter, or for the requests to a path and where they go. A message must pass every route that matches, a request goes by the most specific. `telemetry` always exists: keys left out of it keep their defaults.',
    default: { telemetry: { match: 'devices/+/telemetry', rate: { limit: '5/s', burst: 10 } } },
    example: {
      telemetry: {
        to: [{ http: 'https://ingest.example/telemetry', batch: 100, ca: 'ingest-ca.pem' }],
      },
      ingest: {
        path: '/backend/',
        upstream: 'http://127.0.0.1:9000',
        rate: { limit: '5/s', burst: 10 },
      },
    },
    propertyNames: { type: 'string', kind: 'name' },
    additionalProperties: route,
    maxProperties: 256,
  },
  tokens,
  limits: mapping('Bounds of a worker. Every one stops something; raise them knowingly.', {
    ...limits,
    identityRates: rates,
  }),
  durability: {
    enum: ['flushed', 'process'],
    default: 'flushed',
    description:
      'When a message counts as stored and is acknowledged, at the earliest. `flushed`: when it is on the disk. `process`: when it is committed, which survives a crash of the gateway but perhaps not a power cut. The store that the gateway has today flushes with every commit, so `process` gains nothing there.',
  },
  store: later('Where state is kept.', stage('the store')),
  logs: mapping('Logs, JSON lines on standard error.', {
    level: {
      enum: ['debug', 'info', 'warn', 'error', 'fatal'],
      default: 'info',
      description: 'Least important level that is written.',
    },
  }),
  metrics: mapping('`/metrics` on the admin listener.', {
    token: secret(
      'Bearer token that a scraper must show. Without it, only an operator certificate opens `/metrics`.',
      { file: 'metrics.token' },
    ),
  }),
  audit: later('The posture audit.', stage('the audit')),
  anomaly: mapping('What is done about devices that do not behave like themselves.', {
    clones: mapping(
      'A device whose certificate is used from two addresses (IPv4 /32, IPv6 /64) in turn: a copy of its key is about. Each is an audit line and counted.',
      {
        rule: {
          enum: cloneRules,
          default: 'alert',
          description:
            '`alert`: it is told, nothing else. `take-over`: the sessions from the other address are ended. `refuse`: while a session of the device is open, another address is not let in. `quarantine`: the device is quarantined until an operator releases it. A line that leaves by two addresses in turn, or somebody on the way who passes connections on from two, looks the same: the last two rules are for devices that have neither.',
        },
        quarantinesPerHour: count(
          'Devices that the rule quarantines per hour at most; of the others it is told only. Bounds what a worker in the hands of an attacker can do to a fleet.',
          20,
          1,
          100_000,
        ),
        window: duration(
          'Two addresses are suspected when they take turns within this time; a device that changes its network once is not.',
          '10m',
        ),
      },
    ),
  }),
  firmware: later('Signed firmware.', stage('firmware')),
  segmentation: later('Network segmentation.', stage('segmentation')),
  workers: {
    type: ['integer', 'string'],
    kind: 'auto',
    minimum: 1,
    maximum: maxWorkers,
    default: 'auto',
    description: 'Worker processes, 1 to 64; `auto` = one per core.',
  },
});
