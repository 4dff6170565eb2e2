/** The part of the schema that is about a hardware security module. */
import { count, duration, mapping, secret } from './config-node.ts';

export const pkcs11 = mapping(
  'A PKCS#11 token that holds the CA keys: they are made in it, sign in it and never leave it. Keys that lie on disk from before go on signing until `ca rotate` has replaced them. Without this key the CA keys lie in the data directory, sealed under the master key. See hardware-keys.md.',
  {
    module: {
      type: 'string',
      kind: 'path',
      description:
        "The vendor's PKCS#11 library. It is native code that runs in control, with control's rights.",
      example: '/usr/lib/softhsm/libsofthsm2.so',
    },
    token: {
      type: 'string',
      maxLength: 32,
      description: 'Label of the token. Slots may change their numbers; a label does not.',
      example: 'sallyport-ca',
    },
    pin: secret(
      "The user's PIN of the token. One that the token has refused is not tried again, for tokens lock themselves.",
      { credential: 'hsm-pin' },
    ),
    prefix: {
      type: 'string',
      kind: 'name',
      default: 'sallyport',
      description:
        "What the labels of this gateway's keys begin with, `<prefix>/issuing`: give each of several gateways that share a token its own.",
    },
    sessions: count(
      'Operations in the token at once. A network HSM does more in parallel; a smart card does one.',
      4,
      1,
      64,
    ),
    waiting: count(
      'Operations that may wait for a session. Bounds the memory that a slow token costs; whoever comes beyond it is told `busy`.',
      1_000,
      1,
      100_000,
    ),
    timeout: duration(
      'For one operation, its wait for a session included. Keeps a silent token from holding those who wait for it.',
      '5s',
    ),
    retry: duration(
      'How long a token that could not be reached is not tried again. Keeps a broken one from taking the time of control.',
      '1s',
    ),
    environment: {
      type: 'array',
      maxItems: 16,
      default: [],
      items: { type: 'string', kind: 'variable' },
      description:
        'Environment variables that the library needs, by name; control has no others. Their values come from where the gateway is started.',
      example: ['SOFTHSM2_CONF'],
    },
  },
  {
    required: ['module', 'token', 'pin'],
    example: {
      module: '/usr/lib/softhsm/libsofthsm2.so',
      token: 'sallyport-ca',
      pin: { credential: 'hsm-pin' },
    },
  },
);
