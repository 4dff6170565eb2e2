/**
 * The admin API as functions. The gateway at the other end of the Unix socket is of this version and trusted with more
 * than a wrong shape could do, so answers are taken as what `control/admin/ports.ts` says they are.
 */
import type { PrincipalKind, StandingAction } from '../common/base/principal.ts';
import type { PolicyDocument } from '../common/config/policy-document.ts';
import type {
  AuditLine,
  AuditVerdict,
  CaView,
  GatewayStatus,
  IssuedIdentity,
  LabIdentity,
  PrincipalView,
  ReloadResult,
  StandingResult,
} from '../control/admin/ports.ts';
import type { CommandContext } from './context.ts';
import { askGateway } from './gateway-client.ts';

const pageSize = 1000;

export class Gateway {
  readonly #context: CommandContext;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  async status(): Promise<GatewayStatus> {
    return (await this.#get('/v1/status')) as GatewayStatus;
  }

  /** All of a kind, page by page. */
  async principals(kind: PrincipalKind): Promise<readonly PrincipalView[]> {
    const all: PrincipalView[] = [];
    for (;;) {
      const after = encodeURIComponent(all.at(-1)?.id ?? '');
      const path = `/v1/principals?kind=${kind}&limit=${pageSize}&after=${after}`;
      const page = (await this.#get(path)) as { readonly principals: readonly PrincipalView[] };
      all.push(...page.principals);
      if (page.principals.length < pageSize) return all;
    }
  }

  async principal(kind: PrincipalKind, id: string): Promise<PrincipalView> {
    return (await this.#get(principalPath(kind, id))) as PrincipalView;
  }

  async enrol(kind: PrincipalKind, id: string, csr: string): Promise<IssuedIdentity> {
    return (await this.#post(`${principalPath(kind, id)}/enrol`, { csr })) as IssuedIdentity;
  }

  async createLab(kind: PrincipalKind, id: string, role: string | undefined): Promise<LabIdentity> {
    const body = role === undefined ? {} : { role };
    return (await this.#post(`${principalPath(kind, id)}/create`, body)) as LabIdentity;
  }

  async changeStanding(
    kind: PrincipalKind,
    id: string,
    action: StandingAction,
    reason: string | undefined,
  ): Promise<StandingResult> {
    const body = reason === undefined ? {} : { reason };
    return (await this.#post(`${principalPath(kind, id)}/${action}`, body)) as StandingResult;
  }

  async inviteOperator(id: string, ttlMs: number): Promise<{ token: string; expires: number }> {
    const path = `/v1/operators/${encodeURIComponent(id)}/invite`;
    const body = { ttlSeconds: Math.ceil(ttlMs / 1000) };
    return (await this.#post(path, body)) as { token: string; expires: number };
  }

  async policy(): Promise<{ readonly document: PolicyDocument; readonly generation: number }> {
    return (await this.#get('/v1/policy')) as { document: PolicyDocument; generation: number };
  }

  async ca(): Promise<CaView> {
    return (await this.#get('/v1/ca')) as CaView;
  }

  async exportRoot(): Promise<{ readonly privateKey: string; readonly certificate: string }> {
    const answer = await this.#post('/v1/ca/export-root', {});
    return answer as { privateKey: string; certificate: string };
  }

  async confirmRootExported(): Promise<void> {
    await this.#post('/v1/ca/export-root/confirm', {});
  }

  async auditLines(after: number, limit: number): Promise<readonly AuditLine[]> {
    const path = `/v1/audit-log?after=${after}&limit=${Math.min(limit, pageSize)}`;
    const page = (await this.#get(path)) as { readonly lines: readonly AuditLine[] };
    return page.lines;
  }

  async verifyAuditLog(): Promise<AuditVerdict> {
    return (await this.#post('/v1/audit-log/verify', {})) as AuditVerdict;
  }

  async reload(): Promise<ReloadResult> {
    return (await this.#post('/v1/reload', {})) as ReloadResult;
  }

  async replaceProcesses(): Promise<void> {
    await this.#post('/v1/reload-processes', {});
  }

  #get(path: string): Promise<unknown> {
    return askGateway(this.#context, 'GET', path);
  }

  #post(path: string, body: object): Promise<unknown> {
    return askGateway(this.#context, 'POST', path, body);
  }
}

function principalPath(kind: PrincipalKind, id: string): string {
  return `/v1/principals/${kind}/${encodeURIComponent(id)}`;
}
