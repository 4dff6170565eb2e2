/**
 * The logging port: pino's shape. Levels by audience: debug for the developer, info what an operator wants on a quiet
 * day, warn one operation failed, error a subsystem, fatal the process. No secret and no payload at info or above.
 */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  fatal(fields: object, message: string): void;
  isLevelEnabled(level: 'debug' | 'info'): boolean;
}

export const silentLogger: Logger = Object.freeze({
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  fatal: () => {},
  isLevelEnabled: () => false,
});
