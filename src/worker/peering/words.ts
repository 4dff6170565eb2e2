/**
 * What desks and homes say to each other, and the guards for it. A word that does not fit is answered with undefined
 * here, and its sender is cut.
 */
import { parsePrincipalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';
import type { RateBucket } from '../policy/ports.ts';
import type { BucketLevels } from './identity-budget.ts';

/** Desk to home: may this session be mine? */
export interface ClaimWord {
  readonly principal: PrincipalName;
  readonly clientId: string;
  /** Unique for this desk. */
  readonly claim: number;
  /** What the desk has of the identity's budget already. */
  readonly loan: number | undefined;
  /** The client's address; empty when it is not known. */
  readonly remote: string;
  /** How long the desk waits for the answer. */
  readonly leftMs: number;
}

export type ClaimReply =
  | {
      readonly status: 'granted';
      readonly epoch: number;
      /** The budget, when this worker is the only one that serves the identity and did not say that it has it. */
      readonly loan: Loan | undefined;
    }
  /** `rate`: it connects too often. `in-use`: from another address, and the rule is that the older session stays. */
  | { readonly status: 'quota' | 'busy' | 'rate' | 'in-use' | 'elsewhere' };

export interface Loan {
  readonly id: number;
  readonly levels: readonly BucketLevels[];
}

/** Desk to home: the session has ended; with its last one the budget goes back. */
export interface ReleaseWord {
  readonly principal: PrincipalName;
  readonly clientId: string;
  readonly epoch: number;
  readonly loan: Loan | undefined;
}

/** Desk to home: whatever comes of this claim, nobody waits for it. */
export interface CancelWord {
  readonly principal: PrincipalName;
  readonly clientId: string;
  readonly claim: number;
}

/** Desk to home: the session that was claimed from there is in use, beside others from elsewhere. */
export interface SeenWord {
  readonly principal: PrincipalName;
  readonly remote: string;
}

/** Home to desk: end the session, unless it is newer. Answered with the loan when it was the last one. */
export interface EvictWord {
  readonly principal: PrincipalName;
  readonly clientId: string;
  readonly epoch: number;
}

/** Home to desk, answered with the loan if it is still there: from now on the home is asked. */
export interface RecallWord {
  readonly principal: PrincipalName;
  readonly loan: number;
}

/** Home to desk: the budget is yours (again). */
export interface LendWord {
  readonly principal: PrincipalName;
  readonly loan: Loan;
}

/** Desk to home. */
export interface AskWord {
  readonly principal: PrincipalName;
  readonly buckets: readonly RateBucket[];
  readonly cost: number | readonly number[];
}

export interface AskReply {
  /** `local`: you have the budget yourself. */
  readonly answer: 'yes' | 'no' | 'local';
  /** How full the windows are after it, bucket after bucket; a worker of an earlier version does not say it. */
  readonly levels?: readonly number[] | undefined;
}

/** Desk to a new home: what it serves; or an old home to a new one: what it knew. */
export interface AttachWord {
  /** Forget what this worker said before. */
  readonly reset: boolean;
  readonly identities: readonly Attached[];
}

export type AttachedSession = readonly [clientId: string, epoch: number, remote: string];

export interface Attached {
  readonly principal: PrincipalName;
  readonly sessions: readonly AttachedSession[];
  readonly loan: number | undefined;
  readonly levels: readonly BucketLevels[];
}

/** All that this `part` of the sender has to attach under this view has been said. */
export interface AttachedWord {
  readonly view: string;
  readonly part: 'desk' | 'home';
}

/** Identities in one word. */
export const attachedPerWord = 500;
const maxSessions = 10_000;
const maxBuckets = 256;
const maxWindows = 16;
const maxClientId = 65_535;
/** An IPv6 address with a mapped IPv4 address and the name of an interface. */
const maxRemote = 64;

type Fields = Partial<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function isClientId(value: unknown): value is string {
  return typeof value === 'string' && value.length <= maxClientId;
}

/** Empty when it is not known: a worker of an earlier version does not say it. */
function asRemote(value: unknown): string | undefined {
  if (value === undefined) return '';
  return typeof value === 'string' && value.length <= maxRemote ? value : undefined;
}

function asPrincipal(value: unknown): PrincipalName | undefined {
  return typeof value === 'string' ? parsePrincipalName(value)?.name : undefined;
}

/** Each element parsed, or undefined when there are too many or one does not fit. */
function each<T>(
  value: unknown,
  max: number,
  parse: (element: unknown) => T | undefined,
): readonly T[] | undefined {
  if (!Array.isArray(value) || value.length > max) return undefined;
  const parsed: T[] = [];
  for (const element of value as readonly unknown[]) {
    const one = parse(element);
    if (one === undefined) return undefined;
    parsed.push(one);
  }
  return parsed;
}

function parseWindow(value: unknown): RateWindow | undefined {
  const { limit, perMs, burst } = fieldsOf(value);
  if (!isAmount(limit) || !isAmount(perMs) || perMs === 0 || !isAmount(burst)) return undefined;
  return { limit, perMs, burst };
}

function parseBucket(value: unknown): RateBucket | undefined {
  const { key, windows } = fieldsOf(value);
  const parsed = each(windows, maxWindows, parseWindow);
  return typeof key === 'string' && parsed !== undefined ? { key, windows: parsed } : undefined;
}

function parseLevels(value: unknown): BucketLevels | undefined {
  const bucket = parseBucket(value);
  const levels = each(fieldsOf(value)['levels'], maxWindows, (one) =>
    isAmount(one) ? one : undefined,
  );
  if (bucket === undefined || levels?.length !== bucket.windows.length) return undefined;
  return { ...bucket, levels };
}

/** null = there is none, undefined = it does not fit. */
function parseLoan(value: unknown): Loan | null | undefined {
  if (value === undefined) return null;
  const { id, levels } = fieldsOf(value);
  const parsed = each(levels, maxBuckets, parseLevels);
  return isCount(id) && parsed !== undefined ? { id, levels: parsed } : undefined;
}

export function parseClaim(body: unknown): ClaimWord | undefined {
  const { principal: name, clientId, claim, loan, leftMs, remote: address } = fieldsOf(body);
  const principal = asPrincipal(name);
  const remote = asRemote(address);
  if (principal === undefined || remote === undefined || !isClientId(clientId)) return undefined;
  if (!isCount(claim) || !isAmount(leftMs)) return undefined;
  if (loan !== undefined && !isCount(loan)) return undefined;
  return { principal, clientId, claim, loan, remote, leftMs };
}

export function parseClaimReply(body: unknown): ClaimReply | undefined {
  const { status, epoch, loan } = fieldsOf(body);
  if (status === 'quota' || status === 'busy' || status === 'elsewhere') return { status };
  if (status === 'rate' || status === 'in-use') return { status };
  const parsed = parseLoan(loan);
  if (status !== 'granted' || !isCount(epoch) || parsed === undefined) return undefined;
  return { status, epoch, loan: parsed ?? undefined };
}

export function parseRelease(body: unknown): ReleaseWord | undefined {
  const evict = parseEvict(body);
  const loan = parseLoan(fieldsOf(body)['loan']);
  if (evict === undefined || loan === undefined) return undefined;
  return { ...evict, loan: loan ?? undefined };
}

export function parseCancel(body: unknown): CancelWord | undefined {
  const { principal: name, clientId, claim } = fieldsOf(body);
  const principal = asPrincipal(name);
  if (principal === undefined || !isClientId(clientId) || !isCount(claim)) return undefined;
  return { principal, clientId, claim };
}

export function parseSeen(body: unknown): SeenWord | undefined {
  const { principal: name, remote: address } = fieldsOf(body);
  const principal = asPrincipal(name);
  const remote = asRemote(address);
  return principal === undefined || remote === undefined ? undefined : { principal, remote };
}

export function parseEvict(body: unknown): EvictWord | undefined {
  const { principal: name, clientId, epoch } = fieldsOf(body);
  const principal = asPrincipal(name);
  if (principal === undefined || !isClientId(clientId) || !isCount(epoch)) return undefined;
  return { principal, clientId, epoch };
}

export function parseRecall(body: unknown): RecallWord | undefined {
  const { principal: name, loan } = fieldsOf(body);
  const principal = asPrincipal(name);
  return principal !== undefined && isCount(loan) ? { principal, loan } : undefined;
}

/** The answer to evict and recall. */
export function parseReturned(body: unknown): { readonly loan: Loan | undefined } | undefined {
  const loan = parseLoan(fieldsOf(body)['loan']);
  return loan === undefined ? undefined : { loan: loan ?? undefined };
}

export function parseLend(body: unknown): LendWord | undefined {
  const { principal: name, loan } = fieldsOf(body);
  const principal = asPrincipal(name);
  const parsed = parseLoan(loan);
  if (principal === undefined || parsed === undefined || parsed === null) return undefined;
  return { principal, loan: parsed };
}

export function parseAsk(body: unknown): AskWord | undefined {
  const { principal: name, buckets, cost } = fieldsOf(body);
  const principal = asPrincipal(name);
  const parsed = each(buckets, maxBuckets, parseBucket);
  const costs = isAmount(cost)
    ? cost
    : each(cost, maxBuckets, (one) => (isAmount(one) ? one : undefined));
  if (principal === undefined || parsed === undefined || costs === undefined) return undefined;
  if (typeof costs !== 'number' && costs.length !== parsed.length) return undefined;
  return { principal, buckets: parsed, cost: costs };
}

export function parseAskReply(body: unknown): AskReply | undefined {
  const { answer, levels } = fieldsOf(body);
  if (answer !== 'yes' && answer !== 'no' && answer !== 'local') return undefined;
  const told = each(levels, maxBuckets * maxWindows, (one) => (isAmount(one) ? one : undefined));
  return { answer, levels: told };
}

function parseAttachedSession(value: unknown): AttachedSession | undefined {
  if (!Array.isArray(value)) return undefined;
  const [clientId, epoch, address] = value as readonly unknown[];
  const remote = asRemote(address);
  return isClientId(clientId) && isCount(epoch) && remote !== undefined
    ? [clientId, epoch, remote]
    : undefined;
}

function parseIdentity(value: unknown): Attached | undefined {
  const { principal: name, sessions, loan, levels } = fieldsOf(value);
  const principal = asPrincipal(name);
  const parsedSessions = each(sessions, maxSessions, parseAttachedSession);
  const parsedLevels = each(levels, maxBuckets, parseLevels);
  if (principal === undefined || parsedSessions === undefined || parsedLevels === undefined) {
    return undefined;
  }
  if (loan !== undefined && !isCount(loan)) return undefined;
  return { principal, sessions: parsedSessions, loan, levels: parsedLevels };
}

export function parseAttach(body: unknown): AttachWord | undefined {
  const { reset, identities } = fieldsOf(body);
  const parsed = each(identities, attachedPerWord, parseIdentity);
  return typeof reset === 'boolean' && parsed !== undefined
    ? { reset, identities: parsed }
    : undefined;
}

export function parseAttached(body: unknown): AttachedWord | undefined {
  const { view, part } = fieldsOf(body);
  if (typeof view !== 'string' || (part !== 'desk' && part !== 'home')) return undefined;
  return { view, part };
}
