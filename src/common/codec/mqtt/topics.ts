/** Topic names and topic filters: MQTT 5.0 §4.7 and §4.8.2. Pure functions over strings, for policies too. */
import { byteAt } from './byte-at.ts';

const sharedPrefix = '$share/';
const maximumBytes = 65_535;
const hash = 0x23;
const plus = 0x2b;
const slash = 0x2f;

export interface SharedFilter {
  readonly shareName: string;
  /** What the subscription matches, without `$share/<name>/`. */
  readonly topicFilter: string;
}

function fits(text: string): boolean {
  // A UTF-16 unit is at most three bytes of UTF-8.
  return text.length * 3 <= maximumBytes || Buffer.byteLength(text) <= maximumBytes;
}

/** At least one character, no wildcard, no U+0000, at most 65,535 bytes [MQTT-4.7.0-1, MQTT-4.7.3-1 to -3]. */
export function isValidTopicName(topic: string): boolean {
  if (topic.length === 0 || !fits(topic)) return false;
  for (let index = 0; index < topic.length; index += 1) {
    const unit = topic.charCodeAt(index);
    if (unit === 0 || unit === plus || unit === hash) return false;
  }
  return true;
}

/**
 * At least one character; `#` alone in the last level; `+` alone in its level; no U+0000; at most 65,535 bytes
 * [MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.3-1 to -3]. Says nothing about `$share/`: see `parseShared`.
 */
export function isValidTopicFilter(filter: string): boolean {
  if (filter.length === 0 || !fits(filter)) return false;
  const last = filter.length - 1;
  for (let index = 0; index <= last; index += 1) {
    const unit = filter.charCodeAt(index);
    if (unit === 0) return false;
    if (unit !== plus && unit !== hash) continue;
    const opensLevel = index === 0 || filter.charCodeAt(index - 1) === slash;
    const closesLevel = index === last || (unit === plus && filter.charCodeAt(index + 1) === slash);
    if (!opensLevel || !closesLevel) return false;
  }
  return true;
}

/** Whether a filter of MQTT 5 asks for a shared subscription; in 3.1.1 the prefix means nothing. */
export function isShared(filter: string): boolean {
  return filter.startsWith(sharedPrefix);
}

/**
 * `$share/<name>/<filter>` in its parts [MQTT-4.8.2-1, MQTT-4.8.2-2]; undefined when `filter` is not shared, or asks
 * to be and is not well-formed.
 */
export function parseShared(filter: string): SharedFilter | undefined {
  if (!isShared(filter)) return undefined;
  const end = filter.indexOf('/', sharedPrefix.length);
  if (end <= sharedPrefix.length) return undefined;
  const shareName = filter.slice(sharedPrefix.length, end);
  const topicFilter = filter.slice(end + 1);
  // A share name has no '/', so this also refuses '+' and '#' and U+0000 in it.
  if (!isValidTopicName(shareName) || !isValidTopicFilter(topicFilter)) return undefined;
  return { shareName, topicFilter };
}

/** Levels of a topic name or filter: empty ones count (§4.7.1.1). */
export function countLevels(topic: string): number {
  let levels = 1;
  for (let index = topic.indexOf('/'); index !== -1; index = topic.indexOf('/', index + 1)) {
    levels += 1;
  }
  return levels;
}

/** Levels of the topic name in these bytes when it is valid and ASCII; 0 when only a slower look can tell. */
export function scanAsciiTopicName(buffer: Buffer, start: number, end: number): number {
  let levels = 1;
  for (let index = start; index < end; index += 1) {
    const byte = byteAt(buffer, index);
    if (byte === slash) levels += 1;
    else if (byte >= 0x80 || byte === hash || byte === plus || byte === 0) return 0;
  }
  return start < end ? levels : 0;
}
