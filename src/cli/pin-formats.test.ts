import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { PinView } from '../control/admin/ports.ts';
import { arduinoPins, base64Pins, cPins } from './pin-formats.ts';

const pins = (['root', 'server'] as const).flatMap((role) =>
  (['current', 'next'] as const).map((which): PinView => ({
    role,
    which,
    sha256: randomBytes(32).toString('base64'),
    publicKey: `-----BEGIN PUBLIC KEY-----\n${role} ${which}\n-----END PUBLIC KEY-----\n`,
  })),
);

/** The arrays of a header file, read as a compiler does: name → base64 of its rows. */
function arraysOf(source: string): ReadonlyMap<string, readonly string[]> {
  const arrays = new Map<string, readonly string[]>();
  const plain = source.replaceAll(/\/\*.*?\*\//g, '');
  for (const [, name = '', rows, columns, body = ''] of plain.matchAll(
    /static const uint8_t (\w+)\[(\d+)\]\[(\d+)\](?: PROGMEM)? = \{([\s\S]*?)\n\};/g,
  )) {
    const values = [...body.matchAll(/\{([^}]*)\}/g)].map(([, row = '']) =>
      Buffer.from([...row.matchAll(/0x([0-9a-f]{2}),/g)].map(([, hex = '']) => Number(`0x${hex}`))),
    );
    assert.equal(values.length, Number(rows));
    assert.ok(values.every((value) => value.length === Number(columns)));
    arrays.set(
      name,
      values.map((value) => value.toString('base64')),
    );
  }
  return arrays;
}

const expected = new Map([
  ['sallyport_root_pins', pins.slice(0, 2).map(({ sha256 }) => sha256)],
  ['sallyport_server_pins', pins.slice(2).map(({ sha256 }) => sha256)],
]);

test('base64 is a pin a line', () => {
  assert.deepEqual(
    base64Pins(pins).trimEnd().split('\n'),
    pins.map(({ sha256 }) => sha256),
  );
});

test('C has an array for each key, the current pin before the next', () => {
  const source = cPins(pins);
  assert.match(source, /^\/\*[^\n]*\*\/\n#include <stdint\.h>\n/);
  assert.deepEqual(arraysOf(source), expected);
  assert.match(source, /\{ \/\* current \*\/[\s\S]*\{ \/\* next \*\//);
});

test('Arduino has the same in program memory, and the keys themselves', () => {
  const source = arduinoPins(pins);
  assert.match(source, /#include <Arduino\.h>\n/);
  assert.deepEqual(arraysOf(source), expected);
  assert.equal(source.match(/\] PROGMEM = \{/g)?.length, 2);
  for (const { role, which, publicKey } of pins) {
    const declaration = `static const char sallyport_${role}_${which}_key[] PROGMEM = R"PEM(\n${publicKey})PEM";`;
    assert.ok(source.includes(declaration), declaration);
  }
});
