import { principalParts, printable } from '../../../common/base/principal.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';

/** The CN names the identity that is asked for, or nobody; other attributes of the subject are dropped. */
export const checkSubject: CsrCheck = ({ commonNames }, { name }) => {
  const { id } = principalParts(name);
  if (commonNames.length > 1) {
    throw refused(`the subject has ${commonNames.length} CNs`, `use one: -subj /CN=${id}`);
  }
  const [commonName = id] = commonNames;
  if (commonName !== id) {
    throw refused(
      `the CN is "${printable(commonName)}", the certificate is for ${name}`,
      `make the request with -subj /CN=${id}, or ask for the id that it names`,
    );
  }
};
