/**
 * One gateway for all tests of a file. When they are over it must still be what it was: the same workers, no fault of
 * its own in the log, and a clean stop.
 */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { startGateway } from './gateway.ts';
import type { Gateway, GatewayOptions, Identity } from './gateway.ts';
import type { ConnectBytes } from './mqtt-bytes.ts';
import { RawMqtt } from './raw-mqtt.ts';
import type { RawOptions } from './raw-mqtt.ts';

export interface ClientOptions
  extends Omit<RawOptions, 'port' | 'identity'>, Partial<Omit<ConnectBytes, 'version'>> {}

export interface SharedGateway {
  readonly gateway: Gateway;
  readonly port: number;
  /** A client that was let in. */
  readonly connect: (identity: Identity, options?: ClientOptions) => Promise<RawMqtt>;
  /** A TLS connection that has said nothing yet. */
  readonly open: (
    identity: Identity | undefined,
    options?: Omit<RawOptions, 'port' | 'identity'>,
  ) => Promise<RawMqtt>;
}

/** To be called at the top of a file: it registers what is asserted and ended after the tests. */
export async function sharedGateway(options: GatewayOptions = {}): Promise<SharedGateway> {
  const gateway = await startGateway(options);
  const { workers } = gateway.run();
  after(async () => {
    try {
      assert.deepEqual(
        gateway.run().workers,
        workers,
        `a worker was replaced; ${gateway.log.tail()}`,
      );
      const faults = gateway.log.lines((line) =>
        ['error', 'fatal'].includes(String(line.get('level'))),
      );
      assert.deepEqual(faults, []);
      await gateway.stop();
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
  });
  const port = gateway.mqttsPort;
  return {
    gateway,
    port,
    open: (identity, tls) => RawMqtt.open({ ...tls, port, identity }),
    connect: async (identity, connect = {}) => {
      const client = await RawMqtt.open({ ...connect, port, identity });
      const { code } = await client.connect(connect);
      assert.equal(code, 0, `${identity.id}: CONNACK 0x${code.toString(16)}`);
      return client;
    },
  };
}
