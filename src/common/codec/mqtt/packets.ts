/**
 * MQTT control packets as data: OASIS MQTT 5.0 (7 March 2019) and MQTT 3.1.1. Field names are the standards' terms.
 *
 * Buffers in a decoded packet are slices of what was pushed, or of memory that the decoder does not use again. Whoever
 * keeps one copies it first: it would keep all of its read buffer. Strings are copies.
 */

/** The protocol version byte of CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5.0. */
export type ProtocolVersion = 4 | 5;
export type QoS = 0 | 1 | 2;
export type UserProperty = readonly [name: string, value: string];

export interface Connect {
  readonly type: 'connect';
  readonly version: ProtocolVersion;
  readonly cleanStart: boolean;
  /** Seconds; 0 = off. */
  readonly keepAlive: number;
  readonly clientId: string;
  readonly will: Will | undefined;
  readonly userName: string | undefined;
  readonly password: Buffer | undefined;
  readonly properties: ConnectProperties;
}

/** MQTT 5 §3.1.2.11; absent = undefined, and always absent in 3.1.1. */
export interface ConnectProperties {
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly topicAliasMaximum?: number;
  readonly requestResponseInformation?: boolean;
  readonly requestProblemInformation?: boolean;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Buffer;
  readonly userProperties?: readonly UserProperty[];
}

export interface Will {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: WillProperties;
}

/** MQTT 5 §3.3.2.3: those that travel with a message from publisher to subscriber. */
export interface MessageProperties {
  readonly payloadFormatIndicator?: 0 | 1;
  /** Seconds. */
  readonly messageExpiryInterval?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Buffer;
  readonly userProperties?: readonly UserProperty[];
}

export interface WillProperties extends MessageProperties {
  readonly willDelayInterval?: number;
}

export interface Connack {
  readonly type: 'connack';
  readonly sessionPresent: boolean;
  /** MQTT 5 reason code, or the 3.1.1 return code 0–5. */
  readonly reasonCode: number;
  readonly properties: ConnackProperties;
}

export interface ConnackProperties {
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumQoS?: 0 | 1;
  readonly retainAvailable?: boolean;
  readonly maximumPacketSize?: number;
  readonly assignedClientIdentifier?: string;
  readonly topicAliasMaximum?: number;
  readonly reasonString?: string;
  readonly wildcardSubscriptionAvailable?: boolean;
  readonly subscriptionIdentifiersAvailable?: boolean;
  readonly sharedSubscriptionAvailable?: boolean;
  readonly serverKeepAlive?: number;
  readonly responseInformation?: string;
  readonly serverReference?: string;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Buffer;
  readonly userProperties?: readonly UserProperty[];
}

export interface Publish {
  readonly type: 'publish';
  readonly dup: boolean;
  readonly qos: QoS;
  readonly retain: boolean;
  /** Empty when a topic alias stands for it. */
  readonly topic: string;
  /** 1–65535 for QoS 1 and 2; 0 for QoS 0. */
  readonly packetId: number;
  readonly payload: Buffer;
  /** `noProperties` (the same frozen object) when there are none. */
  readonly properties: PublishProperties;
}

export interface PublishProperties extends MessageProperties {
  readonly topicAlias?: number;
  /** Server to client only; several when overlapping subscriptions matched. */
  readonly subscriptionIdentifiers?: readonly number[];
}

/** PUBACK, PUBREC, PUBREL and PUBCOMP have one shape. */
export interface PublishResponse {
  readonly type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';
  readonly packetId: number;
  readonly reasonCode: number;
  readonly properties: ReasonProperties;
}

export interface ReasonProperties {
  readonly reasonString?: string;
  readonly userProperties?: readonly UserProperty[];
}

export interface Subscribe {
  readonly type: 'subscribe';
  readonly packetId: number;
  readonly subscriptions: readonly Subscription[];
  readonly properties: {
    readonly subscriptionIdentifier?: number;
    readonly userProperties?: readonly UserProperty[];
  };
}

export interface Subscription {
  readonly topicFilter: string;
  readonly qos: QoS;
  /** The rest is MQTT 5; in 3.1.1 false, false, 0. */
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}

export interface Suback {
  readonly type: 'suback';
  readonly packetId: number;
  readonly reasonCodes: readonly number[];
  readonly properties: ReasonProperties;
}

export interface Unsubscribe {
  readonly type: 'unsubscribe';
  readonly packetId: number;
  readonly topicFilters: readonly string[];
  readonly properties: { readonly userProperties?: readonly UserProperty[] };
}

export interface Unsuback {
  readonly type: 'unsuback';
  readonly packetId: number;
  /** Empty in 3.1.1, which has no payload. */
  readonly reasonCodes: readonly number[];
  readonly properties: ReasonProperties;
}

export interface Pingreq {
  readonly type: 'pingreq';
}

export interface Pingresp {
  readonly type: 'pingresp';
}

export interface Disconnect {
  readonly type: 'disconnect';
  readonly reasonCode: number;
  readonly properties: ReasonProperties & {
    readonly sessionExpiryInterval?: number;
    readonly serverReference?: string;
  };
}

export interface Auth {
  readonly type: 'auth';
  readonly reasonCode: number;
  readonly properties: ReasonProperties & {
    readonly authenticationMethod?: string;
    readonly authenticationData?: Buffer;
  };
}

export type Packet =
  | Connect
  | Connack
  | Publish
  | PublishResponse
  | Subscribe
  | Suback
  | Unsubscribe
  | Unsuback
  | Pingreq
  | Pingresp
  | Disconnect
  | Auth;

export const noProperties: Readonly<Record<never, never>> = Object.freeze({});
