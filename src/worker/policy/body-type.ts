/** What a request says its body is, as far as that decides how a backend reads it. */

/** `application/json`, `application/senml+json`, `application/cbor`, and their like. */
const judged =
  /^(?:text\/json|application\/(?:[0-9a-z!#$&^_.-]+(?:\+[0-9a-z!#$&^_.-]+)*\+)?(?:json|cbor))$/;
/** Nobody's is longer, and `isCborType` takes none that is for CBOR. */
const maxLength = 128;
const charset = /charset/i;
const utf8 = /^[^;]*;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*$/i;

/** Without parameters, in lower case (RFC 9110 section 8.3.1). */
export function mediaTypeOf(contentType = ''): string {
  const end = contentType.indexOf(';');
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

/** Whether somebody who believes it would read the text in another charset than UTF-8. */
export function saysOtherCharset(contentType: string): boolean {
  return charset.test(contentType) && !utf8.test(contentType);
}

/**
 * Why a backend may find something else in a body than the schema has judged, or undefined: as a form, a valid JSON text is
 * whatever fields are written into its strings, and as UTF-7 `+ACI-` in one of them is the quote that ends it.
 *
 * @param listed the route says which types it takes, and this is one of them.
 */
export function readingProblem(
  contentType: string | undefined,
  listed: boolean,
): string | undefined {
  if (contentType === undefined || contentType === '' || contentType === 'application/json') {
    return undefined;
  }
  if (contentType.length > maxLength) return 'the content type is too long';
  if (saysOtherCharset(contentType)) {
    return 'the body is said to be in another charset than UTF-8';
  }
  if (listed || judged.test(mediaTypeOf(contentType))) return undefined;
  return 'the body is not said to be JSON or CBOR';
}
