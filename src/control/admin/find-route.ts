/**
 * Finds the route of a request target. Segments are decoded after they are split, so an encoded `/` stays inside its
 * segment.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { Route } from './route.ts';

/** Longest request target that is looked at; the longest legitimate one is below 400. */
const maxTargetLength = 2048;

export interface FoundRoute {
  readonly route: Route;
  readonly params: ReadonlyMap<string, string>;
  readonly query: URLSearchParams;
}

/** `allowed` names the methods of a path that exists but not for this method; empty when the path does not exist. */
export type RouteSearch =
  | { readonly found: FoundRoute }
  | { readonly found: undefined; readonly allowed: readonly string[] };

/** @throws SallyportError `malformed` for a target that is no origin-form or has a broken escape. */
export function findRoute(routes: readonly Route[], method: string, target: string): RouteSearch {
  const { segments, query } = splitTarget(target);
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, segments);
    if (params === undefined) continue;
    if (route.method === method) return { found: { route, params, query } };
    allowed.push(route.method);
  }
  return { found: undefined, allowed };
}

function splitTarget(target: string): { segments: readonly string[]; query: URLSearchParams } {
  if (!target.startsWith('/') || target.length > maxTargetLength) {
    throw new SallyportError('malformed', 'request target');
  }
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = new URLSearchParams(mark === -1 ? '' : target.slice(mark + 1));
  try {
    return { segments: path.slice(1).split('/').map(decodeURIComponent), query };
  } catch {
    throw new SallyportError('malformed', 'broken escape in the request target');
  }
}

function matchPath(
  template: string,
  segments: readonly string[],
): ReadonlyMap<string, string> | undefined {
  const wanted = template.slice(1).split('/');
  if (wanted.length !== segments.length) return undefined;
  const params = new Map<string, string>();
  for (const [index, want] of wanted.entries()) {
    const segment = segments[index] ?? '';
    if (want.startsWith('{')) {
      if (segment === '') return undefined;
      params.set(want.slice(1, -1), segment);
    } else if (want !== segment) {
      return undefined;
    }
  }
  return params;
}
