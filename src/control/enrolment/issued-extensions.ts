/**
 * The extensions of a certificate, read anew: the checker of what has been issued shares no parser with what issued it.
 * Everything but extensions it takes from OpenSSL.
 */

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

export interface IssuedExtension {
  /** Content octets of the identifier, hex: `551d13` is 2.5.29.19. */
  readonly id: string;
  readonly critical: boolean;
  /** What extnValue holds, hex. */
  readonly value: string;
}

const booleanTag = 0x01;
const extensionsTag = 0xa3;

/** In order. `der` is a certificate that OpenSSL has read; undefined when this reader and OpenSSL do not agree. */
export function extensionsOfIssued(der: Buffer): readonly IssuedExtension[] | undefined {
  const [certificate] = children(der, { tag: 0, start: 0, end: der.length }) ?? [];
  const [tbs] = (certificate && children(der, certificate)) ?? [];
  const field = (tbs && children(der, tbs))?.find(({ tag }) => tag === extensionsTag);
  const [list, ...more] = (field && children(der, field)) ?? [];
  const items = list === undefined || more.length > 0 ? undefined : children(der, list);
  const extensions = items?.map((item) => readExtension(der, item));
  return extensions?.every((extension) => extension !== undefined) ? extensions : undefined;
}

function readExtension(der: Buffer, item: Element): IssuedExtension | undefined {
  const parts = children(der, item) ?? [];
  const [id, second, third] = parts;
  const isFlagged = second?.tag === booleanTag;
  const value = isFlagged ? third : second;
  if (id === undefined || value === undefined) return undefined;
  if (parts.length !== (isFlagged ? 3 : 2)) return undefined;
  return {
    id: der.toString('hex', id.start, id.end),
    critical: isFlagged && der[second.start] === 0xff,
    value: der.toString('hex', value.start, value.end),
  };
}

/** The elements that fill it exactly. */
function children(der: Buffer, parent: Element): readonly Element[] | undefined {
  const found: Element[] = [];
  for (let at = parent.start; at < parent.end;) {
    const tag = der[at] ?? 0;
    const first = der[at + 1] ?? 0;
    const octets = first < 0x80 ? 0 : first - 0x80;
    if (octets > 3) return undefined;
    const start = at + 2 + octets;
    const length = octets === 0 ? first : der.readUIntBE(at + 2, octets);
    const end = start + length;
    if (end > parent.end) return undefined;
    found.push({ tag, start, end });
    at = end;
  }
  return found;
}
