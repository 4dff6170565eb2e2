/** What is fuzzed, by name. Imported when it is asked for: coverage sees only what is compiled after it began. */
import type { FuzzTarget } from './fuzz.ts';

export const targets: Readonly<Record<string, () => Promise<FuzzTarget>>> = {
  'mqtt-decoder': async () => (await import('./targets/mqtt-decoder.ts')).mqttDecoder,
  'strict-json': async () => (await import('./targets/strict-json.ts')).strictJson,
  'cbor-payload': async () => (await import('./targets/cbor-payload.ts')).cborPayload,
  certificates: async () => (await import('./targets/certificates.ts')).certificates,
  'topic-filter': async () => (await import('./targets/topic-filter.ts')).topicFilter,
  'message-codec': async () => (await import('./targets/message-codec.ts')).messageCodec,
  'session-record': async () => (await import('./targets/session-record.ts')).sessionRecord,
  'http-request': async () => (await import('./targets/http-request.ts')).httpRequest,
  'http-signature': async () => (await import('./targets/http-signature.ts')).httpSignature,
  'ipc-frames': async () => (await import('./targets/ipc-frames.ts')).ipcFrames,
  'ocsp-request': async () => (await import('./targets/ocsp-request.ts')).ocspRequest,
  jwt: async () => (await import('./targets/jwt.ts')).jwt,
  'proxy-header': async () => (await import('./targets/proxy-header.ts')).proxyHeader,
  'request-path': async () => (await import('./targets/request-path.ts')).requestPath,
  'revocation-list': async () => (await import('./targets/revocation-list.ts')).revocationList,
  'status-request': async () => (await import('./targets/status-request.ts')).statusRequest,
  'upstream-answer': async () => (await import('./targets/upstream-answer.ts')).upstreamAnswer,
  'websocket-frames': async () => (await import('./targets/websocket-frames.ts')).websocketFrames,
};
