/** The policy that a command is about: of a configuration file, or of the running gateway. */
import type { BackendConfig, UpstreamConfig } from '../common/config/config.ts';
import type { PolicyDocument } from '../common/config/policy-document.ts';
import type { CommandContext } from './context.ts';
import { Gateway } from './gateway.ts';

export interface LoadedPolicy {
  readonly document: PolicyDocument;
  readonly generation: number;
  /** Of a configuration file; what the running gateway has to say of its own is in its log. */
  readonly backends: readonly BackendConfig[];
  readonly upstreams: readonly UpstreamConfig[];
  readonly warnings: readonly string[];
}

/** @throws SallyportError `invalid-config` for a bad file; what asking the gateway throws. */
export async function loadPolicy(
  context: CommandContext,
  file: string | undefined,
): Promise<LoadedPolicy> {
  if (file === undefined) {
    return { ...(await new Gateway(context).policy()), backends: [], upstreams: [], warnings: [] };
  }
  const { loadConfigBundle } = await import('../common/config/load-config.ts');
  const { parseConfig } = await import('../common/config/parse-config.ts');
  const { policyDocumentOf } = await import('../common/config/policy-of.ts');
  const { configWarnings } = await import('../common/config/config-warnings.ts');
  const config = parseConfig(loadConfigBundle(file));
  return {
    document: policyDocumentOf(config),
    generation: 1,
    backends: config.backends,
    upstreams: config.upstreams,
    warnings: configWarnings(config),
  };
}
