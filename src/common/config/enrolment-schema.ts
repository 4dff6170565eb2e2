/** The part of the schema that is about enrolment. */
import { keyKinds, usualKeyKinds } from '../base/key-kinds.ts';
import { count, duration, mapping, size } from './config-node.ts';

export const approvals = ['none', 'manufacturer', 'all'] as const;

const manufacturer = mapping(
  'One manufacturer of devices.',
  {
    name: {
      type: 'string',
      kind: 'name',
      description: 'How it is called in the audit log.',
    },
    file: {
      type: 'string',
      kind: 'path',
      description:
        'PEM file with every CA of the manufacturer that signs device certificates itself; a chain that clients send is not followed.',
    },
    from: {
      enum: ['cn', 'san-dns', 'san-uri', 'serial-number'],
      default: 'serial-number',
      description:
        'Where in the certificate the id is; IEEE 802.1AR puts it into the serial number of the subject.',
    },
    prefix: {
      type: 'string',
      kind: 'id-prefix',
      default: '',
      description:
        'Put before it to make the id of the device, so that two manufacturers cannot name the same one.',
    },
    role: {
      type: 'string',
      kind: 'name',
      default: 'device',
      description: 'Role of its devices.',
    },
  },
  { required: ['name', 'file'] },
);

export const enrolment = mapping('How devices get certificates.', {
  csrBytes: size('Bytes of a certificate signing request. Bounds what is parsed.', '16KiB'),
  keys: {
    type: 'array',
    minItems: 1,
    maxItems: keyKinds.length,
    default: usualKeyKinds,
    items: { enum: keyKinds },
    description:
      'Kinds of keys that get a certificate; RSA from 2,048 bits on. `ML-DSA-44`, `ML-DSA-65` and `ML-DSA-87` (FIPS 204) withstand quantum computers, make handshakes some kilobytes larger, and need TLS 1.3 on the device: they are off until you name them. EST tells a device the first kind of the list. See algorithms.md.',
  },
  approval: {
    enum: approvals,
    default: 'none',
    description:
      'Which enrolments over the network wait until an operator has approved them: `manufacturer` those by a certificate of a manufacturer, `all` those by a token too. Renewals never wait.',
  },
  approvalRetry: duration('When a device that waits for approval is told to ask again.', '5m'),
  requests: count(
    'Enrolments that wait for an operator, or have been decided and not been fetched. Bounds the registry.',
    1_000,
    1,
    100_000,
  ),
  requestsKept: duration('How long one of them is kept.', '7d'),
  tokens: count(
    'Enrolment tokens that can be used at one time. Bounds the registry.',
    10_000,
    1,
    1_000_000,
  ),
  tokenFailures: count(
    'Tokens a minute from one source that may be unknown, used, late or for another device. Beyond it the source waits: slows down guessing.',
    10,
    1,
    10_000,
  ),
  renewalDays: count(
    'Days before its certificate ends from which on a device may renew it.',
    60,
    1,
    3_650,
  ),
  graceDays: count(
    'Days after its certificate has ended in which a device may still renew it, over EST and with the same proof of its key. Nothing else is open to it. 0 = none: it has to be enrolled anew.',
    0,
    0,
    365,
  ),
  expiryCheck: duration(
    'How often it is looked whose certificate comes to its end. The log and `sallyport_control_certificates_expiring` tell operators 30, 7 and 1 days before; the command `renew` tells the device once it may renew.',
    '1h',
  ),
  renewalsPerDay: count(
    'Certificates of one identity in a day, beyond which it can neither renew nor come back by its manufacturer’s certificate. Keeps a device that does so in a loop from filling the registry.',
    4,
    1,
    1_000,
  ),
  manufacturers: {
    type: 'array',
    maxItems: 64,
    default: [],
    items: manufacturer,
    description:
      'Manufacturers whose certificates (IDevID) get a new device its first certificate over EST. They open nothing else.',
    example: [{ name: 'acme', file: 'acme-idevid-ca.pem', prefix: 'acme-' }],
  },
});
