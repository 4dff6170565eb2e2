/** JSON lines by pino, on standard error. Field names are the field's own: `ssl_client_s_dn`, `principal`, `code`. */
import { destination, pino, stdTimeFunctions } from 'pino';
import type { Logger } from './logger.ts';

/** Bytes of log that wait for a sink that does not read; what comes then is dropped, and service goes on. */
const maxBufferedBytes = 4 * 1024 * 1024;

export interface JsonLogger extends Logger {
  setLevel(level: string): void;
}

export function jsonLogger(fields: Readonly<Record<string, unknown>>): JsonLogger {
  const sink = destination({ fd: 2, sync: false, maxLength: maxBufferedBytes });
  // A sink that is gone is no reason to stop: there is nobody left to tell.
  sink.on('error', () => {});
  // What explains an end is written just before it.
  process.on('exit', () => {
    try {
      sink.flushSync();
    } catch {
      // Gone, or not reading: see above.
    }
  });
  const logger = pino(
    {
      level: 'info',
      base: { ...fields },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
  return {
    debug: (object, message) => logger.debug(object, message),
    info: (object, message) => logger.info(object, message),
    warn: (object, message) => logger.warn(object, message),
    error: (object, message) => logger.error(object, message),
    fatal: (object, message) => logger.fatal(object, message),
    isLevelEnabled: (level) => logger.isLevelEnabled(level),
    setLevel: (level) => {
      logger.level = level;
    },
  };
}
