/**
 * By which rules it is found who has signed a request, before it is known what he asks for: a path, and with it a route, may
 * depend on who asks. They are as wide as the widest of any route, and grant nothing: the route's own are asked after them.
 */
import type {
  IntegrityDocument,
  IntegrityMethod,
} from '../../../../common/config/proxied-route.ts';
import type { PolicyDocument } from '../../../../common/config/policy-document.ts';

const remembered = new WeakMap<PolicyDocument, { readonly rules: IntegrityDocument | undefined }>();

/** @returns undefined when no route takes a signature for an answer to who asks. */
export function signingRulesOf(document: PolicyDocument): IntegrityDocument | undefined {
  let known = remembered.get(document);
  if (known === undefined) {
    known = { rules: widest(document) };
    remembered.set(document, known);
  }
  return known.rules;
}

function widest({ routes, proxied }: PolicyDocument): IntegrityDocument | undefined {
  const accept = new Set<IntegrityMethod>();
  let windowMs = 0;
  for (const { authenticate, integrity } of [...routes, ...proxied]) {
    if (integrity === undefined || !authenticate.includes('signature')) continue;
    for (const method of integrity.accept) accept.add(method);
    windowMs = Math.max(windowMs, integrity.windowMs);
  }
  return accept.size === 0 ? undefined : { required: true, accept: [...accept], windowMs };
}
