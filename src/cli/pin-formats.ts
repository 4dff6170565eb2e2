/** Pins as a build wants them: lines of base64, C, and C++ for Arduino. */
import type { PinView } from '../control/admin/ports.ts';

const pinBytes = 32;
const bytesPerLine = 8;

/** One pin a line, as `curl --pinnedpubkey sha256//…`, OkHttp and others take it. */
export function base64Pins(pins: readonly PinView[]): string {
  return pins.map(({ sha256 }) => `${sha256}\n`).join('');
}

export function cPins(pins: readonly PinView[]): string {
  const arrays = byRole(pins).map(
    ([role, ofRole]) => `
static const uint8_t sallyport_${role}_pins[${ofRole.length}][${pinBytes}] = {
${ofRole.map(bytesOf).join('')}};
`,
  );
  return `/* SHA-256 over the DER SubjectPublicKeyInfo of the gateway's keys. */
#include <stdint.h>
${arrays.join('')}`;
}

/** With the keys themselves: BearSSL of the ESP8266 compares a key, mbedTLS of the ESP32 can compare its hash. */
export function arduinoPins(pins: readonly PinView[]): string {
  const parts = byRole(pins).map(
    ([role, ofRole]) => `
static const uint8_t sallyport_${role}_pins[${ofRole.length}][${pinBytes}] PROGMEM = {
${ofRole.map(bytesOf).join('')}};
${ofRole.map(publicKeyOf).join('')}`,
  );
  return `// SHA-256 over the DER SubjectPublicKeyInfo of the gateway's keys, and the keys as BearSSL::PublicKey takes them.
#include <Arduino.h>
${parts.join('')}`;
}

function byRole(pins: readonly PinView[]): [string, readonly PinView[]][] {
  return Object.entries(Object.groupBy(pins, ({ role }) => role));
}

function bytesOf({ which, sha256 }: PinView): string {
  const bytes = [...Buffer.from(sha256, 'base64')].map(
    (octet) => `0x${octet.toString(16).padStart(2, '0')},`,
  );
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += bytesPerLine) {
    lines.push(`    ${bytes.slice(at, at + bytesPerLine).join(' ')}\n`);
  }
  return `  { /* ${which} */\n${lines.join('')}  },\n`;
}

function publicKeyOf({ role, which, publicKey }: PinView): string {
  return `static const char sallyport_${role}_${which}_key[] PROGMEM = R"PEM(
${publicKey.trim()}
)PEM";
`;
}
