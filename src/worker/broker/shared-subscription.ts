/** The topic filters of shared subscriptions: `$share/<group>/<filter>` (MQTT 5 §4.8.2). */
import { isShared, parseShared } from '../../common/codec/mqtt/topics.ts';

export { isShared } from '../../common/codec/mqtt/topics.ts';

/** The filter behind the group, by which topics are matched and the policy judges. `subscription` MUST be valid. */
export function filterOfShared(subscription: string): string {
  return parseShared(subscription)?.topicFilter ?? subscription;
}

/** The same for any filter, shared or not. */
export function filterOf(filter: string): string {
  return isShared(filter) ? filterOfShared(filter) : filter;
}
