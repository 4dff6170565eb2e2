/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP from a client: MQTT 5 §3.4–§3.7, §4.3. In a durable session the answer waits until
 * the phase that it speaks of is stored.
 */
import type { PublishResponse } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { MqttPeer } from './peer.ts';
import { completePacket, releasePacket } from './release-packet.ts';
import type { Session } from './session.ts';

/** @returns whether it belongs to an exchange that is open: those that do not are a flood when there are many. */
export function handlePublishResponse(
  connection: MqttPeer,
  session: Session,
  { type, packetId, reasonCode }: PublishResponse,
): boolean {
  switch (type) {
    case 'puback':
      return connection.outbox.acknowledged(packetId);
    case 'pubrec':
      return received(connection, session, packetId, reasonCode);
    case 'pubrel':
      return released(connection, session, packetId);
    case 'pubcomp':
      return connection.outbox.completed(packetId);
  }
}

function received(
  connection: MqttPeer,
  session: Session,
  packetId: number,
  reasonCode: number,
): boolean {
  const refused = reasonCode >= ReasonCode.unspecifiedError;
  const outcome = connection.outbox.received(packetId, refused);
  switch (outcome) {
    case 'unknown':
      // A PUBREC that refuses is the end of an exchange of which nothing is left here either.
      if (!refused) {
        connection.send(releasePacket(packetId, ReasonCode.packetIdentifierNotFound));
      }
      return false;
    case 'ended':
      return true;
    case 'released':
    case 'again': {
      const packet = releasePacket(packetId, ReasonCode.success);
      afterStored(connection, session.durable?.saving.saved(), () => connection.send(packet));
      // A client says it once on each connection; to say it again and again would cost it nothing.
      return outcome === 'released';
    }
  }
}

function released(connection: MqttPeer, session: Session, packetId: number): boolean {
  const { incoming, durable } = session;
  if (!incoming.releasing(packetId)) {
    // While it is being forgotten, its PUBCOMP is on the way.
    if (incoming.phase(packetId) !== 'releasing') {
      connection.send(completePacket(packetId, ReasonCode.packetIdentifierNotFound));
    }
    return false;
  }
  afterStored(connection, durable?.saving.forgotten(packetId), () => {
    incoming.completed(packetId);
    connection.send(completePacket(packetId, ReasonCode.success));
  });
  return true;
}

function afterStored(connection: MqttPeer, stored: Promise<void> | undefined, step: () => void) {
  if (stored === undefined) {
    step();
    return;
  }
  stored.then(
    () => connection.run(step),
    (error: unknown) =>
      connection.run(() => {
        if (!connection.isClosed()) throw error;
      }),
  );
}
