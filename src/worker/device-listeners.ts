/**
 * The listeners that face devices, fitted to the worker: by whatever protocol and proof somebody comes, he meets the same
 * broker, policy, upstreams and places.
 */
import { randomUUID } from 'node:crypto';
import type { PrincipalName } from '../common/base/principal.ts';
import type { ControlCall } from '../common/ipc/control-calls.ts';
import { presenceId } from './broker/session-key.ts';
import type { Signatures } from './credentials/signatures.ts';
import type { Tokens } from './credentials/tokens/tokens.ts';
import { TokenIdentifier } from './identify-by-token.ts';
import { EstListener } from './listeners/est/listener.ts';
import { HttpsListener } from './listeners/https/listener.ts';
import type { HttpsPorts } from './listeners/https/ports.ts';
import { Presences } from './listeners/https/presences.ts';
import type { Assertions } from './listeners/https/proxied/assertions.ts';
import { SignedHttpsListener } from './listeners/https/signed/listener.ts';
import { mayCome } from './listeners/identified.ts';
import type { Identified } from './listeners/identified.ts';
import { MqttListener } from './listeners/mqtt/listener.ts';
import type { ListenerPorts } from './listeners/mqtt/listener.ts';
import { SignedMqttListener } from './listeners/mqtt/signed-listener.ts';
import { SignedPlaces } from './listeners/signed-places.ts';
import type { ListeningParts } from './listening.ts';
import type { Upstreams } from './routes/upstream/upstreams.ts';
import type { SnapshotView } from './snapshot/snapshot-view.ts';
import type { SecureConnection } from './transport/secure-connection.ts';

export interface DeviceListenerParts {
  readonly ports: ListenerPorts;
  /** By the certificate of a connection. */
  readonly identify: (connection: SecureConnection) => Promise<Identified>;
  readonly view: SnapshotView;
  readonly signatures: Signatures;
  readonly tokens: Tokens;
  readonly upstreams: Upstreams;
  readonly assertions: Assertions;
  /** As `ControlCalls.call`. */
  readonly call: (call: ControlCall) => Promise<unknown>;
  /** One of a network could not prove who he is. */
  readonly failed: (address: string) => void;
  readonly seen: (name: PrincipalName) => void;
}

export function deviceListeners(parts: DeviceListenerParts): ListeningParts['protocols'] {
  const { ports, identify, view, signatures, tokens, call, failed } = parts;
  const { clock, logger, limits, count } = ports;
  const mqtts = new MqttListener(ports);
  const byToken = new TokenIdentifier({ tokens, view, clock });
  const places = new SignedPlaces(limits);
  const mqttsSigned = new SignedMqttListener(
    {
      ...ports,
      identify: async (connection, shown) => {
        const found = await byToken.identify(connection, shown);
        if (found.ok) parts.seen(found.name);
        // Who may not be served has cost a handshake all the same.
        if (!found.ok || !mayCome(found.identity.standing)) failed(connection.remoteAddress);
        return found;
      },
      identifyNow: (connection) => byToken.identifyNow(connection),
    },
    places,
  );
  const httpsPorts: HttpsPorts = {
    ...ports,
    identify,
    signatures,
    tokens,
    upstreams: parts.upstreams,
    assertions: parts.assertions,
    oauth: { credentials: () => view.current?.credentials, call, failed, count },
    acceptMqtt: (connection) => mqtts.accept(connection),
  };
  const { claim } = ports;
  const clientId = presenceId(randomUUID());
  const presences = new Presences({ claim, clock, limits, clientId });
  const https = new HttpsListener(httpsPorts, presences);
  const { seen } = parts;
  const httpsSigned = new SignedHttpsListener(
    { ...httpsPorts, signatures, tokens, seen },
    places,
    presences,
  );
  const est = new EstListener({ clock, logger, limits, call, failed, count });
  return { mqtts, https, est, httpsSigned, mqttsSigned };
}
