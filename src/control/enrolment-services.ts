/** What operators can do about enrolment over the network: tokens, and requests that wait for them. */
import { SallyportError } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type {
  Actor,
  EnrolmentRequestView,
  EnrolmentTokenView,
  NewEnrolmentToken,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { Decision, PendingRequest, PendingRequests } from './enrolment/pending-requests.ts';
import type { EnrolmentToken, EnrolmentTokens } from './enrolment/tokens.ts';
import type { Registry } from './registry/registry.ts';
import { hintFor } from './registry/standing.ts';

export interface EnrolmentServiceParts {
  readonly registry: Pick<Registry, 'get'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly tokens: EnrolmentTokens;
  readonly pending: PendingRequests;
}

const decided = Object.freeze({ approved: 'approve-enrolment', denied: 'deny-enrolment' });

export class EnrolmentServices {
  readonly #parts: EnrolmentServiceParts;

  constructor(parts: EnrolmentServiceParts) {
    this.#parts = parts;
  }

  createToken(actor: Actor, { device, ttlMs, uses }: NewEnrolmentToken) {
    const { registry, auditLog, tokens } = this.#parts;
    const name = device === undefined ? undefined : principalName('device', device);
    const standing = name === undefined ? undefined : registry.get(name)?.standing;
    if (name !== undefined && standing !== undefined && standing !== 'active') {
      throw new SallyportError('wrong-standing', `${name} is ${standing} and cannot enrol`, {
        hint: hintFor(name, standing),
      });
    }
    const { secret, token } = tokens.create({ device: name, ttlMs, uses, createdBy: actor });
    const { number, expires } = token;
    auditLog.append({
      actor,
      action: 'enrolment-token',
      target: name ?? '',
      detail: { token: number, uses, expires: new Date(expires).toISOString() },
    });
    return { number, token: secret, expires };
  }

  tokens(page: { readonly before: number; readonly limit: number }): EnrolmentTokenView[] {
    return this.#parts.tokens.open(page).map(tokenView);
  }

  withdrawToken(actor: Actor, number: number): EnrolmentTokenView {
    const { auditLog, tokens } = this.#parts;
    const token = tokens.withdraw(number);
    const target = token.device ?? '';
    auditLog.append({ actor, action: 'withdraw-token', target, detail: { token: number } });
    return tokenView(token);
  }

  requests(page: { readonly after: number; readonly limit: number }): EnrolmentRequestView[] {
    return this.#parts.pending.list(page).map(requestView);
  }

  /** What lets somebody in is on record before it holds; what keeps somebody out does not wait for the record. */
  decide(
    actor: Actor,
    number: number,
    decision: Decision,
    reason: string | undefined,
  ): EnrolmentRequestView {
    const { auditLog, pending } = this.#parts;
    const { name, spkiSha256 } = pending.decidable(number, decision);
    const audit = (): unknown =>
      auditLog.append({
        actor,
        action: decided[decision],
        target: name,
        detail: { request: number, spkiSha256, reason },
      });
    if (decision === 'approved') audit();
    const request = pending.decide(number, decision, { by: actor, reason });
    if (decision === 'denied') audit();
    return requestView(request);
  }
}

function tokenView({
  number,
  device,
  uses,
  usesLeft,
  createdAt,
  createdBy,
  expires,
}: EnrolmentToken): EnrolmentTokenView {
  return { number, device, uses, usesLeft, createdAt, createdBy, expires };
}

function requestView({
  number,
  credential,
  name,
  role,
  spkiSha256,
  source,
  state,
  decidedBy,
  reason,
  createdAt,
  expires,
}: PendingRequest): EnrolmentRequestView {
  return {
    number,
    name,
    role,
    // A manufacturer's key says nothing to anybody; that it was a token, and which, does.
    by: credential.startsWith('token:') ? credential : 'manufacturer',
    spkiSha256,
    source,
    state,
    decidedBy,
    reason,
    createdAt,
    expires,
  };
}
