/**
 * Deleting a topic together with the offsets that groups have committed for it.
 *
 * Whoever reads the groups later knows by the topic's id which offsets were for another topic of the
 * name. Brokers record most offsets without an id, so these must be forgotten when the topic goes.
 */

import { areGroupsRead, groupCoordinator } from "../coordinator/group_coordinator.ts";
import { findOffsetsTopic } from "../coordinator/group_log.ts";
import type { Store } from "../store/store.ts";
import { getTopicState, openInternals } from "../store/store.ts";
import { deleteTopic as deleteTopicAlone } from "../store/topics.ts";

/**
 * Deletes a topic and all of its records, and what groups have committed for it. Who is reading it
 * gets an error; open ranges stay readable.
 *
 * @param store The store.
 * @param name The topic's name.
 * @returns Resolves when the deletion is on disk.
 * @throws OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `INVALID_TOPIC_EXCEPTION` if the state of groups
 * or of transactions is kept in it.
 */
export async function deleteTopic(store: Store, name: string): Promise<void> {
  const internals = openInternals(store);
  getTopicState(internals, name);
  const areGroupsUnread = findOffsetsTopic(internals) !== undefined && !areGroupsRead(internals);
  if (areGroupsUnread) await groupCoordinator(internals);
  await deleteTopicAlone(store, name);
}
