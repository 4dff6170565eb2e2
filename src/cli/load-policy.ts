/** The policy that a command is about: of a configuration file, or of the running gateway. */
import type { PolicyDocument } from '../common/config/policy-document.ts';
import type { CommandContext } from './context.ts';
import { Gateway } from './gateway.ts';

export interface LoadedPolicy {
  readonly document: PolicyDocument;
  readonly generation: number;
}

/** @throws SallyportError `invalid-config` for a bad file; what asking the gateway throws. */
export async function loadPolicy(
  context: CommandContext,
  file: string | undefined,
): Promise<LoadedPolicy> {
  if (file === undefined) return new Gateway(context).policy();
  const { loadConfigBundle } = await import('../common/config/load-config.ts');
  const { parseConfig } = await import('../common/config/parse-config.ts');
  const { policyDocumentOf } = await import('../common/config/policy-of.ts');
  return { document: policyDocumentOf(parseConfig(loadConfigBundle(file))), generation: 1 };
}
