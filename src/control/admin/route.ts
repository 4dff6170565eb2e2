/**
 * What a route of the admin API is: data. The table in routes.ts is the whole surface; what is not in it is 404.
 */
import type { Actor, ControlServices } from './ports.ts';

/**
 * Who may call a route. `local`: over the Unix socket only. `operator`: that, or an operator's certificate.
 * `metrics`: that, or the metrics token. `anyone`: any peer, rate limited per source.
 */
export type Access = 'local' | 'operator' | 'metrics' | 'anyone';

/** Who calls, as established from the connection (and never from a body). */
export interface Caller {
  readonly via: 'local' | 'operator' | 'metrics-token' | 'anonymous';
  /** What the audit log will say; `anonymous` and `metrics-token` callers never get that far. */
  readonly actor: Actor;
  /** Network address without the port, as the key of per-source limits; empty over the Unix socket. */
  readonly source: string;
}

export interface ApiRequest {
  readonly caller: Caller;
  /** Decoded path parameters by name; never empty. */
  readonly params: ReadonlyMap<string, string>;
  readonly query: URLSearchParams;
  /** Parsed JSON, bounded in bytes; undefined for GET. */
  readonly body: unknown;
}

export type Answer =
  | { readonly status: 200 | 201 | 202; readonly json: object }
  | { readonly status: 200; readonly text: string; readonly contentType: string }
  | { readonly status: 204 };

export interface Route {
  readonly method: 'GET' | 'POST';
  /** `/v1/principals/{kind}/{id}`: a segment in braces is a parameter. */
  readonly path: string;
  readonly access: Access;
  /** @throws SallyportError, which becomes a problem document. */
  handle(services: ControlServices, request: ApiRequest): Answer | Promise<Answer>;
}
