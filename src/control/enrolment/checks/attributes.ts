import { oids } from '../../../common/codec/der/oids.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';

const accepted: ReadonlySet<string> = new Set([
  oids.extensionRequest,
  // OpenSSL's dialogue asks for these two; they have no effect.
  oids.challengePassword,
  oids.unstructuredName,
]);

/** Other attributes ask for something too, in ways that this CA does not know (RFC 2985). */
export const checkAttributes: CsrCheck = ({ attributes }) => {
  const stranger = attributes.find((type) => !accepted.has(type));
  if (stranger !== undefined) {
    throw refused(
      `the request has the attribute ${stranger}`,
      'make the request without attributes other than requested extensions',
    );
  }
};
