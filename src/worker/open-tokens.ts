/** Fits the verification of tokens to what this worker knows and whom it can ask. */
import type { Clock } from '../common/base/clock.ts';
import type { PolicyDocument } from '../common/config/policy-document.ts';
import type { ControlCalls } from './control-calls.ts';
import type { RegisteredKeys } from './credentials/registered-keys.ts';
import type { ReplayGuard } from './credentials/replay-guard.ts';
import { IntrospectionClient } from './credentials/tokens/introspection.ts';
import { Tokens } from './credentials/tokens/tokens.ts';
import type { SnapshotView } from './snapshot/snapshot-view.ts';

export interface TokensParts {
  readonly clock: Clock;
  readonly view: Pick<SnapshotView, 'identity'>;
  readonly keys: Pick<RegisteredKeys, 'keyOf' | 'stands'>;
  readonly replays: Pick<ReplayGuard, 'remember'>;
  readonly calls: Pick<ControlCalls, 'call'>;
  /** Today's policy. */
  readonly document: () => PolicyDocument;
}

export function openTokens({ clock, view, keys, replays, calls, document }: TokensParts): Tokens {
  return new Tokens({
    clock,
    names: () => {
      const { trustDomain, pages } = document();
      return { trustDomain, hosts: pages.hosts };
    },
    bounds: () => document().limits,
    identity: (name) => view.identity(name),
    keyOf: (wireKeyId) => {
      const found = keys.keyOf(wireKeyId);
      return typeof found === 'string' ? found : { ...found, stands: () => keys.stands(found) };
    },
    remember: (owner, id, ttlMs) => replays.remember(owner, id, ttlMs),
    refreshKeys: (issuer) => {
      // Whether it comes is seen by the next token: new keys are a change of the snapshot.
      calls.call({ what: 'issuer-keys', issuer }).catch(() => {});
    },
    introspector: (settings) => new IntrospectionClient(settings, clock, () => document().limits),
  });
}
