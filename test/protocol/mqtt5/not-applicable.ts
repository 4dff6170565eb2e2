/** Normative statements of MQTT 5 that no test of a server can be about, each with the reason why. */
const client =
  'binds the client alone: nothing of it is visible to a server, or nothing follows for it';
const noMethod = 'the gateway offers no authentication method and so never sends AUTH';
const hasAll = 'the gateway has QoS 1 and QoS 2';

export const notApplicable: Readonly<Record<string, string>> = {
  'MQTT-3.1.2-20': `${client}; a client that keeps silent is closed, see MQTT-3.1.2-22`,
  'MQTT-3.1.2-21': client,
  'MQTT-3.1.2-30': `${client}; a CONNECT that names a method is refused at once`,
  'MQTT-3.2.2-4': client,
  'MQTT-3.2.2-5': client,
  'MQTT-3.2.2-9': hasAll,
  'MQTT-3.2.2-10': hasAll,
  'MQTT-3.2.2-11': `${hasAll} and names no Maximum QoS`,
  'MQTT-3.2.2-12': hasAll,
  'MQTT-3.2.2-13': 'the gateway has retained messages',
  'MQTT-3.2.2-14': 'the gateway has retained messages and never says otherwise',
  'MQTT-3.2.2-21': client,
  'MQTT-3.3.2-10': client,
  'MQTT-3.3.4-5': 'the gateway sends one copy with all identifiers, see MQTT-3.3.4-4',
  'MQTT-3.3.4-8': client,
  'MQTT-3.15.2-2': noMethod,
  'MQTT-3.15.2-3': noMethod,
  'MQTT-4.5.0-2': client,
  'MQTT-4.12.0-2': noMethod,
  'MQTT-4.12.0-3': noMethod,
  'MQTT-4.12.0-5': `${noMethod}; a CONNECT that names a method is never accepted`,
};
