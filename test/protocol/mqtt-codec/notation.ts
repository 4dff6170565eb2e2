/** Packets written down as the standards print them: hexadecimal bytes and quoted ASCII, `10 0c 0004 'MQTT' 04 …`. */
export function bytes(notation: string): Buffer {
  const parts: Buffer[] = [];
  for (const token of notation.match(/'[^']*'|\S+/g) ?? []) {
    const part = token.startsWith("'")
      ? Buffer.from(token.slice(1, -1), 'latin1')
      : Buffer.from(token, 'hex');
    const expected = token.startsWith("'") ? token.length - 2 : token.length / 2;
    if (part.length !== expected) throw new TypeError(`Not hexadecimal: ${token}`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
