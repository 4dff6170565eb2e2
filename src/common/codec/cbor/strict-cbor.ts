/**
 * Payloads in CBOR (RFC 8949), as strict as `parseStrictJson` and with the same outcome: what two decoders read
 * differently, or JSON cannot say, is refused.
 */
import { decode } from 'cborg';
import { EmptyObject } from '../../base/strict-json.ts';
import type { JsonObject, JsonResult, JsonValue } from '../../base/strict-json.ts';
import { messageOf } from '../../base/errors.ts';
import { cborProblem } from './scan.ts';

const options = Object.freeze({
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
  // Its plain objects inherit names, and a schema that requires one would find it.
  useMaps: true,
});

/** Beyond these many characters a content type is none of ours. */
const maxContentType = 128;

/** RFC 8949 §9.5, RFC 6838 §4.2.8: `application/cbor`, `application/senml+cbor; charset=…`. */
export function isCborType(contentType: string | undefined): boolean {
  if (contentType === undefined || contentType.length > maxContentType) return false;
  const [type = ''] = contentType.split(';', 1);
  const name = type.trim().toLowerCase();
  return name === 'application/cbor' || (name.endsWith('+cbor') && name.includes('/'));
}

export function parseStrictCbor(bytes: Buffer): JsonResult {
  const problem = cborProblem(bytes);
  if (problem !== undefined) return { ok: false, problem };
  let decoded: unknown;
  try {
    decoded = decode(bytes, options);
  } catch (thrown) {
    // Its message may quote the payload.
    const isRepeated = messageOf(thrown).includes('repeat map key');
    const detail = isRepeated ? 'has the same key twice in a map' : 'is not CBOR';
    return { ok: false, problem: detail };
  }
  return { ok: true, value: asJson(decoded) };
}

/** As deep as the scan allows. */
function asJson(value: unknown): JsonValue {
  if (Array.isArray(value)) return value.map(asJson);
  if (!(value instanceof Map)) return value as JsonValue; // The scan lets through nothing else.
  const object: JsonObject = new EmptyObject();
  // The scan has shown that keys are texts.
  for (const [key, member] of value as Map<string, unknown>) object[key] = asJson(member);
  return object;
}
