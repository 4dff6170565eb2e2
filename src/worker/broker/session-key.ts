/** The name of a session over all workers. */
import { parsePrincipalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';

/** Two sessions have one key only when principal and client id are the same: a principal's name has no space. */
export function sessionKey(principal: PrincipalName, clientId: string): string {
  return `${principal} ${clientId}`;
}

export function principalOfKey(key: string): PrincipalName {
  // Every key is made by `sessionKey`, or was checked by `isSessionKey` where it came in.
  return key.slice(0, key.indexOf(' ')) as PrincipalName;
}

/** Whether it could be the name of a session: the length of its client id is checked where one comes in. */
export function isSessionKey(value: unknown): value is string {
  if (typeof value !== 'string') return false;
  const end = value.indexOf(' ');
  return end !== -1 && parsePrincipalName(value.slice(0, end)) !== undefined;
}

/**
 * The client id under which a worker claims an identity that speaks a protocol without sessions: its rate budget is
 * then shared with all others, and it takes no session's place. MQTT lets no client have such an id.
 *
 * @param worker what no other worker says.
 */
export function presenceId(worker: string): string {
  return `${presenceMark}${worker}`;
}

export function isPresence(clientId: string): boolean {
  return clientId.startsWith(presenceMark);
}

const presenceMark = '@';
