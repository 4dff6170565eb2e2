/** What a subject says, read from a DER Name (RFC 5280 section 4.1.2.4). */
import { SallyportError } from '../base/errors.ts';
import { oids } from '../codec/der/oids.ts';
import type { DerReader } from '../codec/der/reader.ts';
import { tag } from '../codec/der/tag.ts';

/** Real subjects have ten attributes at most. */
const maxAttributes = 64;

export interface SubjectNames {
  /** Every CN in order, from every RDN; the text as decoded, NUL and control characters included. */
  readonly commonNames: readonly string[];
  /** Every serialNumber attribute (2.5.4.5: of the device, not of the certificate). */
  readonly serialNumbers: readonly string[];
}

/** Reads the Name that is next. @throws SallyportError `malformed`. */
export function readSubjectNames(reader: DerReader): SubjectNames {
  const commonNames: string[] = [];
  const serialNumbers: string[] = [];
  const name = reader.sequence();
  for (let count = 0; !name.atEnd;) {
    const rdn = name.enter(tag.set);
    // At least one attribute: an RDN is a SET SIZE (1..MAX).
    do {
      if (++count > maxAttributes) {
        throw new SallyportError('malformed', 'too many name attributes');
      }
      const attribute = rdn.sequence();
      const type = attribute.oid();
      if (type === oids.commonName) commonNames.push(attribute.text());
      else if (type === oids.serialNumber) serialNumbers.push(attribute.text());
      else attribute.element();
      attribute.end();
    } while (!rdn.atEnd);
  }
  return { commonNames, serialNumbers };
}
