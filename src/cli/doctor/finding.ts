/** What the doctor says: one line for each thing that it looked at. */

export interface Finding {
  /** `fault`: a device does not get through. `warning`: some will not, or soon none. `info`: as it should be. */
  readonly severity: 'fault' | 'warning' | 'info';
  /** For programs; stable. */
  readonly code: string;
  /** What is so. */
  readonly says: string;
  /** What to do about it; undefined for `info`. */
  readonly todo: string | undefined;
}

export function fault(code: string, says: string, todo: string): Finding {
  return { severity: 'fault', code, says, todo };
}

export function warning(code: string, says: string, todo: string): Finding {
  return { severity: 'warning', code, says, todo };
}

export function info(code: string, says: string): Finding {
  return { severity: 'info', code, says, todo: undefined };
}

/** `2026-11-01 12:00Z`. */
export function minute(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 16).replace('T', ' ')}Z`;
}
