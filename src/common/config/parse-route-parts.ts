/** What routes of messages and of requests have in common, checked. */
import type { RateWindow } from '../base/rate-window.ts';
import type { BreakerDocument } from './breaker-document.ts';
import { accepted } from './filled-config.ts';
import type { FilledConfig, FilledRate, FilledRoute } from './filled-config.ts';
import type { PeerTlsPorts } from './parse-peer-tls.ts';
import type { LimitsDocument } from './policy-document.ts';
import type { AuthenticationMethod, IntegrityDocument } from './proxied-route.ts';
import { durationMs, rateOf } from './units.ts';
import type { Path } from './yaml-source.ts';

export interface RoutePorts extends PeerTlsPorts {
  readonly limits: LimitsDocument;
  readonly roles: Readonly<Record<string, unknown>>;
  readonly tokens: FilledConfig['tokens'];
  /** Whether the key was written, not filled in. */
  readonly wrote: (at: Path) => boolean;
  /** The parsed schema of a file; undefined when there is none, which has been told. */
  readonly schema: (at: Path, file: string) => unknown;
}

export function integrityOf({ integrity }: FilledRoute): IntegrityDocument | undefined {
  if (integrity === undefined) return undefined;
  const { required, accept, clock } = integrity;
  return { required, accept, windowMs: accepted(durationMs(clock)) };
}

export function breakerOf({ breaker }: FilledRoute): BreakerDocument | undefined {
  if (breaker === undefined) return undefined;
  return {
    failures: breaker.failures,
    withinMs: accepted(durationMs(breaker.within)),
    openMs: accepted(durationMs(breaker.open)),
  };
}

export function authenticateOf(
  at: Path,
  { authenticate, integrity }: FilledRoute,
  otherwise: readonly AuthenticationMethod[],
  { tokens, fail }: RoutePorts,
): readonly AuthenticationMethod[] {
  if (authenticate === undefined) return otherwise;
  if (authenticate.includes('signature') && integrity === undefined) {
    fail(
      [...at, 'authenticate'],
      'takes signatures: add "integrity", which says what forms of them',
    );
  }
  if (authenticate.includes('token') && tokens.issuers.length === 0 && tokens.endpoint === false) {
    fail(
      [...at, 'authenticate'],
      'takes tokens: name their issuer under tokens.issuers, or switch on tokens.endpoint',
    );
  }
  return authenticate;
}

export function windowsOf(rate: FilledRate): RateWindow[] {
  const list = 'limit' in rate ? [rate] : rate;
  return list.map(({ limit, burst }) => ({ ...accepted(rateOf(limit)), burst }));
}
