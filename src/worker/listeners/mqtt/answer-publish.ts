/** The answers to a PUBLISH: MQTT 5 §3.4, and what 3.1.1 has in their place. */
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish, QoS } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Message } from '../../broker/message.ts';
import { deny } from '../../policy/decision.ts';
import type { Deny } from '../../policy/decision.ts';
import type { AcceptanceTarget } from './acceptances.ts';
import type { IncomingExchanges } from './incoming-exchanges.ts';
import type { MqttPeer } from './peer.ts';
import { wireReasons } from './wire.ts';

/** What answers need of the session. */
interface Publisher {
  readonly principal: PrincipalName;
  readonly incoming: IncomingExchanges;
  refusedInARow: number;
}

/** What becomes of the messages of a session that had to be stored: each in its turn, the connection there or gone. */
export function answering(connection: MqttPeer, session: Publisher): AcceptanceTarget {
  return {
    ready: (message, packetId, stored) =>
      connection.run(() => {
        const received = connection.ports.intake.publish(message) > 0;
        // A mailbox or a backend is a receiver; being retained is not.
        acknowledge(
          connection,
          session,
          message,
          packetId,
          received || (stored && !message.retain),
        );
      }),
    failed: (message, packetId, error) =>
      connection.run(() => {
        if (!(error instanceof SallyportError) || error.code === 'internal') throw error;
        const code = error.code === 'quota' ? 'quota' : 'unavailable';
        const { topic, qos, payload } = message;
        const refused = { topic, qos, packetId, bytes: payload.length };
        refuse(connection, session, refused, deny(code, 'store', messageOf(error)));
      }),
  };
}

export function acknowledge(
  connection: MqttPeer,
  { incoming }: Publisher,
  { qos }: Message,
  packetId: number,
  received: boolean,
): void {
  if (qos === 2) incoming.answered(packetId, true);
  answer(
    connection,
    qos,
    packetId,
    received ? ReasonCode.success : ReasonCode.noMatchingSubscribers,
  );
}

/** PUBACK or PUBREC, as the QoS is. */
function answer(connection: MqttPeer, qos: QoS, packetId: number, reasonCode: number): void {
  if (qos === 0) return;
  const type = qos === 1 ? 'puback' : 'pubrec';
  connection.send({ type, packetId, reasonCode, properties: noProperties });
}

/**
 * MQTT-4.3.3-10: a message that came before is not published again. A client sends one again when it has reconnected;
 * more of that is a flood, which no row of the policy has charged.
 */
export function answerAgain(connection: MqttPeer, { incoming }: Publisher, packetId: number): void {
  if (connection.floods('publish')) return;
  // One that is not answered yet will be.
  if (incoming.phase(packetId) !== 'accepting') answer(connection, 2, packetId, ReasonCode.success);
}

/** What is known of a PUBLISH when its payload, a slice of the read buffer, may be gone. */
interface Refused {
  readonly topic: string;
  readonly qos: QoS;
  readonly packetId: number;
  readonly bytes: number;
}

export function describe({ topic, qos, packetId, payload }: Publish): Refused {
  return { topic, qos, packetId, bytes: payload.length };
}

export function refuse(
  connection: MqttPeer,
  session: Publisher,
  packet: Refused,
  decision: Deny,
): void {
  const { ports, version } = connection;
  const wire = wireReasons[decision.code];
  if (packet.qos === 2) session.incoming.answered(packet.packetId, false);
  if (version === 4 || wire.puback5 === undefined) {
    connection.endFor(decision.code, decision.detail);
    return;
  }
  ports.count(`refused{code="${decision.code}"}`);
  connection.log(
    {
      ...fieldsOf(connection, session, packet),
      code: decision.code,
      row: decision.row,
      detail: decision.detail,
    },
    'refused',
  );
  if (decision.code === 'rate') {
    session.refusedInARow += 1;
    if (session.refusedInARow > ports.limits().rateRefusals) {
      connection.endFor('rate', 'too fast for too long');
      return;
    }
  }
  answer(connection, packet.qos, packet.packetId, wire.puback5);
}

export function fieldsOf(connection: MqttPeer, session: Publisher, packet: Refused): object {
  return {
    ssl_client_s_dn: connection.subject,
    principal: session.principal,
    action: 'publish',
    resource: packet.topic,
    bytes: packet.bytes,
    qos: packet.qos,
  };
}
