/** What MQTT.js needs to come as an identity, once: it does not come back by itself. */
import { readFileSync } from 'node:fs';
import type { IClientOptions } from 'mqtt';
import type { Identity } from './gateway.ts';

/** For connecting, and for whatever is awaited after it. */
export const mqttJsLimitMs = 60_000;

export function mqttJsOptions(identity: Identity): IClientOptions {
  return {
    ca: readFileSync(identity.ca),
    cert: readFileSync(identity.crt),
    key: readFileSync(identity.key),
    reconnectPeriod: 0,
    connectTimeout: mqttJsLimitMs,
  };
}
