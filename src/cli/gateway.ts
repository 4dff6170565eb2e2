/**
 * The admin API as functions. The gateway at the other end of the Unix socket is of this version and trusted with more
 * than a wrong shape could do, so answers are taken as what `control/admin/ports.ts` says they are.
 */
import type { PrincipalKind, StandingAction } from '../common/base/principal.ts';
import type { PolicyDocument } from '../common/config/policy-document.ts';
import type { DeadLetter } from '../common/ipc/messages.ts';
import type {
  AddedKey,
  AuditLine,
  AuditVerdict,
  CaRole,
  CaView,
  CheckedPage,
  EnrolmentRequestView,
  EnrolmentTokenView,
  GatewayStatus,
  IssuedIdentity,
  IssuedProblem,
  KeyView,
  LabIdentity,
  PinView,
  PrincipalView,
  RegisteredIdentity,
  ReloadResult,
  RemovedKey,
  RotationResult,
  SpoolView,
  StandingResult,
} from '../control/admin/ports.ts';
import type { CommandContext } from './context.ts';
import { askGateway } from './gateway-client.ts';

const pageSize = 1000;

export interface CommandBody {
  readonly name: string;
  readonly payload_base64: string;
  readonly content_type?: string;
}

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

  async register(
    kind: PrincipalKind,
    id: string,
    role: string | undefined,
  ): Promise<RegisteredIdentity> {
    const body = role === undefined ? {} : { role };
    return (await this.#post(`${principalPath(kind, id)}/register`, body)) as RegisteredIdentity;
  }

  async keys(kind: PrincipalKind, id: string): Promise<readonly KeyView[]> {
    const answer = (await this.#get(`${principalPath(kind, id)}/keys`)) as {
      readonly keys: readonly KeyView[];
    };
    return answer.keys;
  }

  /** `body`: `publicKey` or `secret`, `id`, and when it ends. */
  async addKey(kind: PrincipalKind, id: string, body: object): Promise<AddedKey> {
    return (await this.#post(`${principalPath(kind, id)}/keys`, body)) as AddedKey;
  }

  async deriveKey(kind: PrincipalKind, id: string, body: object): Promise<AddedKey> {
    return (await this.#post(`${principalPath(kind, id)}/keys/derive`, body)) as AddedKey;
  }

  async removeKey(
    kind: PrincipalKind,
    id: string,
    key: string,
    reason: string | undefined,
  ): Promise<RemovedKey> {
    const path = `${principalPath(kind, id)}/keys/${encodeURIComponent(key)}/remove`;
    return (await this.#post(path, reason === undefined ? {} : { reason })) as RemovedKey;
  }

  async inviteOperator(id: string, ttlMs: number): Promise<{ token: string; expires: number }> {
    const path = `/v1/operators/${encodeURIComponent(id)}/invite`;
    const body = { ttlSeconds: Math.ceil(ttlMs / 1000) };
    return (await this.#post(path, body)) as { token: string; expires: number };
  }

  async createEnrolmentToken(token: {
    readonly device?: string;
    readonly ttlSeconds: number;
    readonly uses: number;
  }): Promise<{ number: number; token: string; expires: number }> {
    const created = await this.#post('/v1/enrolment/tokens', token);
    return created as { number: number; token: string; expires: number };
  }

  /** All that can be used, newest first, page by page. */
  async enrolmentTokens(): Promise<readonly EnrolmentTokenView[]> {
    const all: EnrolmentTokenView[] = [];
    for (;;) {
      const before = all.at(-1)?.number ?? 0;
      const path = `/v1/enrolment/tokens?before=${before}&limit=${pageSize}`;
      const page = (await this.#get(path)) as { readonly tokens: readonly EnrolmentTokenView[] };
      all.push(...page.tokens);
      if (page.tokens.length < pageSize) return all;
    }
  }

  async withdrawEnrolmentToken(number: number): Promise<EnrolmentTokenView> {
    return (await this.#post(`/v1/enrolment/tokens/${number}/withdraw`, {})) as EnrolmentTokenView;
  }

  /** All that are kept, oldest first, page by page. */
  async enrolmentRequests(): Promise<readonly EnrolmentRequestView[]> {
    const all: EnrolmentRequestView[] = [];
    for (;;) {
      const after = all.at(-1)?.number ?? 0;
      const path = `/v1/enrolment/requests?after=${after}&limit=${pageSize}`;
      const page = (await this.#get(path)) as {
        readonly requests: readonly EnrolmentRequestView[];
      };
      all.push(...page.requests);
      if (page.requests.length < pageSize) return all;
    }
  }

  async decideEnrolment(
    number: number,
    action: 'approve' | 'deny',
    reason: string | undefined,
  ): Promise<EnrolmentRequestView> {
    const body = reason === undefined ? {} : { reason };
    const path = `/v1/enrolment/requests/${number}/${action}`;
    return (await this.#post(path, body)) as EnrolmentRequestView;
  }

  async sendCommand(device: string, command: CommandBody): Promise<{ readonly id: string }> {
    const path = `/v1/devices/${encodeURIComponent(device)}/commands`;
    return (await this.#post(path, command)) as { id: string };
  }

  async spools(): Promise<readonly SpoolView[]> {
    const answer = (await this.#get('/v1/routes')) as { readonly routes: readonly SpoolView[] };
    return answer.routes;
  }

  /** A page, oldest first. */
  async deadLetters(
    route: string,
    backend: string | undefined,
    after: string,
    limit: number,
  ): Promise<readonly DeadLetter[]> {
    const query = new URLSearchParams({
      after,
      limit: String(Math.min(limit, pageSize)),
      ...(backend === undefined ? {} : { backend }),
    });
    const path = `${routePath(route)}/dead-letters?${query.toString()}`;
    const page = (await this.#get(path)) as { readonly deadLetters: readonly DeadLetter[] };
    return page.deadLetters;
  }

  async settleDeadLetters(
    action: 'retry' | 'discard',
    route: string,
    selection: { readonly backend?: string; readonly ids?: readonly string[] },
  ): Promise<{ readonly messages: number }> {
    const path = `${routePath(route)}/dead-letters/${action}`;
    return (await this.#post(path, selection)) as { messages: number };
  }

  async policy(): Promise<{ readonly document: PolicyDocument; readonly generation: number }> {
    return (await this.#get('/v1/policy')) as { document: PolicyDocument; generation: number };
  }

  async ca(): Promise<CaView> {
    return (await this.#get('/v1/ca')) as CaView;
  }

  /** What is wrong with what has been issued, page by page; `seen` is told how many were checked so far. */
  async *checkIssued(seen: (checked: number) => void): AsyncGenerator<IssuedProblem> {
    let checked = 0;
    for (let after: number | undefined = 0; after !== undefined;) {
      const page = (await this.#get(`/v1/ca/check?after=${after}`)) as CheckedPage;
      checked += page.checked;
      seen(checked);
      yield* page.problems;
      after = page.next;
    }
  }

  /** Of all roles, or of one. */
  async pins(role: CaRole | undefined): Promise<readonly PinView[]> {
    const answer = await this.#post('/v1/ca/pins', role === undefined ? {} : { role });
    return (answer as { pins: readonly PinView[] }).pins;
  }

  async rotateCa(
    role: CaRole,
    force: boolean,
    rootKeys: string | undefined,
  ): Promise<RotationResult> {
    const body = { role, force, ...(rootKeys === undefined ? {} : { rootKeys }) };
    return (await this.#post('/v1/ca/rotate', body)) as RotationResult;
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

function routePath(route: string): string {
  return `/v1/routes/${encodeURIComponent(route)}`;
}

function principalPath(kind: PrincipalKind, id: string): string {
  return `/v1/principals/${kind}/${encodeURIComponent(id)}`;
}
