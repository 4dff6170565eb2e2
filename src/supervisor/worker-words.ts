/**
 * What a worker may say to the supervisor. A worker may be in an attacker's hands: what does not have exactly this form
 * is nothing.
 */
import { parseBody } from '../common/ipc/link.ts';

export type WorkerWord =
  | { readonly type: 'pong' | 'up' | 'joined' | 'ready' | 'drained' }
  | { readonly type: 'held'; readonly opening: number }
  | { readonly type: 'failed'; readonly message: string }
  | {
      readonly type: 'listening';
      readonly listener: string;
      readonly host: string;
      readonly port: number;
    };

/** Listeners that workers open; the admin listener is control's. */
const workerListeners: ReadonlySet<string> = new Set([
  'mqtts',
  'https',
  'est',
  'status',
  'httpsSigned',
  'mqttsSigned',
]);
const maxTextLength = 500;

export function parseWorkerWord(body: Buffer): WorkerWord | undefined {
  const message: Readonly<Record<string, unknown>> = { ...parseBody(body) };
  const { type } = message;
  switch (type) {
    case 'pong':
    case 'up':
    case 'joined':
    case 'ready':
    case 'drained':
      return { type };
    case 'held': {
      const { opening } = message;
      return typeof opening === 'number' ? { type, opening } : undefined;
    }
    case 'failed': {
      const text = message['message'];
      return {
        type,
        message: typeof text === 'string' ? text.slice(0, maxTextLength) : 'no reason given',
      };
    }
    case 'listening': {
      const { listener, host, port } = message;
      if (typeof listener !== 'string' || !workerListeners.has(listener)) return undefined;
      if (typeof host !== 'string' || host.length > 255) return undefined;
      if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
        return undefined;
      }
      return { type, listener, host, port };
    }
    default:
      return undefined;
  }
}
