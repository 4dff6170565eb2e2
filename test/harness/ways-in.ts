/** The ways in which a device with a certificate comes to the gateway, under one interface: for tests about all of them. */
import assert from 'node:assert/strict';
import type { Gateway, Identity } from './gateway.ts';
import { RawHttps } from './https-raw.ts';
import { requestText } from './https-text.ts';
import { RawMqtt } from './raw-mqtt.ts';
import { handshakeText } from './raw-websocket.ts';

export const tlsVersions = ['TLSv1.2', 'TLSv1.3'] as const;
export type TlsVersion = (typeof tlsVersions)[number];

export interface Coming {
  readonly gateway: Gateway;
  readonly identity: Identity;
  readonly tls: TlsVersion;
  /** To be resumed. */
  readonly session?: Buffer | undefined;
}

/** What a device was told. */
export interface Reception {
  readonly client: Disposable & { readonly address: string };
  /** The way's own: `letIn`, or another. */
  readonly code: number;
  readonly resumed: boolean;
}

/** A connection in use. */
export interface Live extends Disposable {
  readonly client: Disposable & { readonly address: string };
  readonly ticket: Buffer;
  readonly ended: Promise<{ readonly at: number }>;
}

export interface WayIn {
  readonly name: string;
  readonly letIn: number;
  /** What `standing` and `unauthenticated` are called. */
  readonly standing: number;
  readonly unauthenticated: number;
  come(coming: Coming): Promise<Reception>;
  /** @throws when it is not let in. */
  live(coming: Coming): Promise<Live>;
}

const time = requestText('GET', '/api/v1/time');
/** Unlike the time, nobody may do this who has lost his standing. */
const reading = requestText('POST', '/api/v1/telemetry', '{}');
let clientIds = 0;

const mqtt: WayIn = {
  name: 'MQTT',
  letIn: 0,
  standing: 0x8a,
  unauthenticated: 0x86,
  come: async ({ gateway, identity, tls, session }) => {
    const port = gateway.mqttsPort;
    const client = await RawMqtt.open({
      port,
      identity,
      minVersion: tls,
      maxVersion: tls,
      session,
    });
    const { code } = await client.connect({ clientId: nextId() });
    return { client, code, resumed: client.resumed };
  },
  live: async (coming) => {
    const { gateway, identity, tls } = coming;
    const port = gateway.mqttsPort;
    return sessionOf(await RawMqtt.open({ port, identity, minVersion: tls, maxVersion: tls }));
  },
};

const https: WayIn = {
  name: 'HTTPS',
  letIn: 202,
  standing: 403,
  unauthenticated: 401,
  come: (coming) => ask(coming, reading),
  live: async ({ gateway, identity, tls }) => {
    const port = gateway.httpsPort;
    const client = await RawHttps.open({ port, identity, minVersion: tls, maxVersion: tls });
    client.send(time);
    assert.equal((await client.answer()).status, 200);
    // TLS 1.3 sends its tickets after the handshake: there is one now that something else has arrived.
    const ticket = client.socket.getSession();
    assert.ok(ticket !== undefined);
    return {
      client,
      ticket,
      ended: client.ended,
      [Symbol.dispose]: () => client[Symbol.dispose](),
    };
  },
};

const webSocket: WayIn = {
  name: 'MQTT over WebSocket',
  letIn: 101,
  standing: 403,
  unauthenticated: 401,
  come: (coming) => ask(coming, handshakeText()),
  live: async ({ gateway, identity, tls }) => {
    const port = gateway.httpsPort;
    const over = { over: 'websocket', minVersion: tls, maxVersion: tls } as const;
    return sessionOf(await RawMqtt.open({ port, identity, ...over }));
  },
};

export const waysIn: readonly WayIn[] = [mqtt, https, webSocket];

async function ask(
  { gateway, identity, tls, session }: Coming,
  request: string,
): Promise<Reception> {
  const port = gateway.httpsPort;
  const client = await RawHttps.open({ port, identity, minVersion: tls, maxVersion: tls, session });
  client.send(request);
  const { status } = await client.answer();
  return { client, code: status, resumed: client.resumed };
}

async function sessionOf(client: RawMqtt): Promise<Live> {
  assert.equal((await client.connect({ clientId: nextId() })).code, 0);
  const ticket = await client.session();
  return { client, ticket, ended: client.ended, [Symbol.dispose]: () => client[Symbol.dispose]() };
}

function nextId(): string {
  clientIds += 1;
  return `way-${clientIds}`;
}
