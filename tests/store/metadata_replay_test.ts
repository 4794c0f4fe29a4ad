/** What each metadata record does, and the rules that it must keep: src/FORMAT.md, section 5.5. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { isOttlaError } from "../../src/errors.ts";
import type { MetadataImage } from "../../src/store/metadata_image.ts";
import {
  brokerConfigEntries,
  findTopic,
  getTopic,
  metadataImage,
  topicConfigEntries,
} from "../../src/store/metadata_image.ts";
import type { MetadataRecord, MetadataRecordOf } from "../../src/store/metadata_records.ts";
import { applyControlRecord, applyRecord, finishReplay } from "../../src/store/metadata_replay.ts";

const fooId = "EBESExQVFhcYGRobHB0eHw";
const barId = "EBESExQVFhcYGRobHB0eIA";
const directoryId = "AAECAwQFBgcICQoLDA0ODw";
const otherDirectoryId = "AAECAwQFBgcICQoLDA0OEA";

const topic = (name: string, topicId: string): MetadataRecord => {
  return { type: "TopicRecord", version: 0, name, topicId };
};

function partition(fields: Partial<MetadataRecordOf<"PartitionRecord">> = {}): MetadataRecord {
  return {
    type: "PartitionRecord",
    version: 2,
    partitionId: 0,
    topicId: fooId,
    replicas: [1],
    isr: [1],
    removingReplicas: [],
    addingReplicas: [],
    leader: 1,
    leaderRecoveryState: 0,
    leaderEpoch: 0,
    partitionEpoch: 0,
    directories: [directoryId],
    eligibleLeaderReplicas: null,
    lastKnownElr: null,
    ...fields,
  };
}

function change(fields: Partial<MetadataRecordOf<"PartitionChangeRecord">>): MetadataRecord {
  return {
    type: "PartitionChangeRecord",
    version: 2,
    partitionId: 0,
    topicId: fooId,
    isr: null,
    leader: -2,
    replicas: null,
    removingReplicas: null,
    addingReplicas: null,
    leaderRecoveryState: -1,
    eligibleLeaderReplicas: null,
    lastKnownElr: null,
    directories: null,
    ...fields,
  };
}

function config(
  resourceType: number,
  resourceName: string,
  name: string,
  value: string | null,
): MetadataRecord {
  return { type: "ConfigRecord", version: 0, resourceType, resourceName, name, value };
}

function producerIds(nextProducerId: number): MetadataRecord {
  return { type: "ProducerIdsRecord", version: 0, brokerId: 1, brokerEpoch: -1, nextProducerId };
}

function feature(name: string, featureLevel: number): MetadataRecord {
  return { type: "FeatureLevelRecord", version: 0, name, featureLevel };
}

function broker(fields: Partial<MetadataRecordOf<"RegisterBrokerRecord">> = {}): MetadataRecord {
  return {
    type: "RegisterBrokerRecord",
    version: 3,
    brokerId: 1,
    isMigratingZkBroker: false,
    incarnationId: barId,
    brokerEpoch: 5,
    endPoints: [],
    features: [],
    rack: null,
    fenced: true,
    inControlledShutdown: false,
    logDirs: [directoryId],
    cordonedLogDirs: null,
    ...fields,
  };
}

function brokerChange(
  fields: Partial<MetadataRecordOf<"BrokerRegistrationChangeRecord">>,
): MetadataRecord {
  return {
    type: "BrokerRegistrationChangeRecord",
    version: 2,
    brokerId: 1,
    brokerEpoch: 5,
    fenced: 0,
    inControlledShutdown: 0,
    logDirs: [],
    cordonedLogDirs: null,
    ...fields,
  };
}

const removeFoo: MetadataRecord = { type: "RemoveTopicRecord", version: 0, topicId: fooId };
const begin: MetadataRecord = { type: "BeginTransactionRecord", version: 0, name: null };
const end: MetadataRecord = { type: "EndTransactionRecord", version: 0 };
const abort: MetadataRecord = { type: "AbortTransactionRecord", version: 0, reason: null };

function imageOf(...records: readonly MetadataRecord[]): MetadataImage {
  const image = metadataImage();
  for (const record of records) applyRecord(image, record);
  return image;
}

/**
 * Asserts that the last record breaks a rule, that the message names it, and that nothing was
 * changed.
 */
function assertFault(records: readonly MetadataRecord[], last: MetadataRecord, text: RegExp): void {
  const image = imageOf(...records);
  assert.throws(() => applyRecord(image, last), (error) => {
    return isOttlaError(error, "STORE_INVALID") && error.message.includes(last.type) &&
      text.test(error.message);
  });
  assert.deepEqual(image, imageOf(...records));
}

test("a topic is found by name and by id, with its partitions", () => {
  const image = imageOf(
    topic("foo", fooId),
    partition(),
    partition({ partitionId: 1, leaderEpoch: 4 }),
  );
  const foo = getTopic(image, "foo");
  assert.equal(image.topicsById.get(fooId), foo);
  assert.deepEqual([...foo.partitions.keys()], [0, 1]);
  assert.equal(foo.partitions.get(1)?.leaderEpoch, 4);
  assert.deepEqual(foo.partitions.get(0), {
    partition: 0,
    replicas: [1],
    isr: [1],
    removingReplicas: [],
    addingReplicas: [],
    leader: 1,
    leaderRecoveryState: 0,
    leaderEpoch: 0,
    partitionEpoch: 0,
    directories: [directoryId],
    eligibleLeaderReplicas: [],
    lastKnownElr: [],
  });
});

test("a topic that is not there is undefined or UNKNOWN_TOPIC_OR_PARTITION", () => {
  assert.equal(findTopic(metadataImage(), "foo"), undefined);
  assert.throws(
    () => getTopic(metadataImage(), "foo"),
    (error) => isOttlaError(error, "UNKNOWN_TOPIC_OR_PARTITION") && error.kafkaCode === 3,
  );
});

test("removing a topic takes its partitions and configurations, and frees its name", () => {
  const image = imageOf(
    topic("a.b", fooId),
    config(2, "a.b", "retention.ms", "1"),
    partition(),
    config(4, "a.b", "x", "1"),
    removeFoo,
  );
  assert.equal(findTopic(image, "a.b"), undefined);
  assert.equal(image.topicsById.size, 0);
  assert.equal(image.namesByCollisionForm.size, 0);
  assert.equal(topicConfigEntries(image, "a.b").size, 0);
  assert.equal(image.configs.size, 1);
  applyRecord(image, topic("a.b", barId));
  assert.equal(getTopic(image, "a.b").partitions.size, 0);
});

test("the rules for topics hold", () => {
  const foo = topic("foo", fooId);
  assertFault([foo], topic("foo", barId), /"foo".*exists/);
  assertFault([foo], topic("bar", fooId), /taken/);
  assertFault([], topic("../foo", fooId), /not a legal one/);
  assertFault([], topic("", fooId), /not a legal one/);
  assertFault([], topic("foo", "AAAAAAAAAAAAAAAAAAAAAA"), /reserved/);
  assertFault([], topic("foo", "AAAAAAAAAAAAAAAAAAAAAQ"), /reserved/);
  assertFault([], removeFoo, new RegExp(fooId));
  assertFault([foo, removeFoo], removeFoo, /not known/);
});

test("the rules for partitions hold", () => {
  const foo = topic("foo", fooId);
  assertFault([], partition(), /partition 0.*not known/);
  assertFault([foo], change({ leader: 1 }), /does not exist/);
  assertFault([], change({ leader: 1 }), /not known/);
  assertFault([foo], partition({ partitionId: -1 }), /negative/);
  assertFault([foo], partition({ directories: [directoryId, otherDirectoryId] }), /2 directories/);
  const directories = [directoryId, otherDirectoryId];
  assertFault([foo, partition()], change({ directories }), /2 directories do not fit 1 replicas/);
  imageOf(foo, partition({ version: 0, directories: [] }));
});

test("a partition change replaces what it names and raises the epochs", () => {
  const start = [topic("foo", fooId), partition({ leaderEpoch: 3, partitionEpoch: 7 })];
  const after = (record: MetadataRecord) =>
    getTopic(imageOf(...start, record), "foo").partitions.get(0);
  const before = getTopic(imageOf(...start), "foo").partitions.get(0);
  assert.notEqual(before, undefined);
  assert.deepEqual(after(change({})), { ...before, partitionEpoch: 8 });
  // The same leader named again begins an epoch too.
  assert.deepEqual(after(change({ leader: 1 })), { ...before, partitionEpoch: 8, leaderEpoch: 4 });
  assert.deepEqual(after(change({ leader: -1, isr: [], eligibleLeaderReplicas: [1] })), {
    ...before,
    partitionEpoch: 8,
    leaderEpoch: 4,
    leader: -1,
    isr: [],
    eligibleLeaderReplicas: [1],
  });
  const moved = {
    replicas: [1, 2],
    removingReplicas: [1],
    addingReplicas: [2],
    directories: [directoryId, otherDirectoryId],
    leaderRecoveryState: 1,
    lastKnownElr: [1],
  };
  assert.deepEqual(after(change(moved)), { ...before, partitionEpoch: 8, ...moved });
});

test("ClearElrRecord clears one topic or all", () => {
  const elr = { eligibleLeaderReplicas: [1], lastKnownElr: [1] };
  const records = [
    topic("foo", fooId),
    partition(elr),
    topic("bar", barId),
    partition({ ...elr, topicId: barId }),
  ];
  const left = (topicName: string): (number | undefined)[] => {
    const image = imageOf(...records, { type: "ClearElrRecord", version: 0, topicName });
    return ["foo", "bar"].map((name) => {
      const found = getTopic(image, name).partitions.get(0);
      assert.equal(found?.eligibleLeaderReplicas.length, found?.lastKnownElr.length);
      return found?.lastKnownElr.length;
    });
  };
  assert.deepEqual(left("foo"), [0, 1]);
  assert.deepEqual(left(""), [0, 0]);
});

test("configurations belong to their resource, and null takes an entry away", () => {
  const image = imageOf(
    config(2, "foo", "retention.ms", "1"),
    config(2, "foo", "retention.ms", "2"),
    config(2, "foo", "segment.ms", "3"),
    config(2, "foo", "segment.ms", null),
    config(4, "foo", "retention.ms", "4"),
    config(2, "bar", "retention.ms", "5"),
    config(2, "bar", "retention.ms", null),
    config(2, "bar", "never.there", null),
  );
  assert.deepEqual([...topicConfigEntries(image, "foo")], [["retention.ms", "2"]]);
  assert.equal(topicConfigEntries(image, "bar").size, 0);
  assert.equal(image.configs.size, 2);
});

test("a broker's own configuration stands over that of all brokers", () => {
  const image = imageOf(
    config(4, "1", "log.retention.ms", "1"),
    config(4, "", "log.retention.ms", "2"),
    config(4, "", "log.roll.ms", "3"),
    config(4, "2", "log.flush.interval.ms", "4"),
  );
  const entries = Object.fromEntries(brokerConfigEntries(image, 1));
  assert.deepEqual(entries, { "log.retention.ms": "1", "log.roll.ms": "3" });
});

test("producer ids only grow", () => {
  const image = imageOf(producerIds(1000), producerIds(2000));
  assert.equal(image.nextProducerId, 2000);
  assertFault([producerIds(2000)], producerIds(2000), /not above/);
  assertFault([], producerIds(0), /not above/);
});

test("features are kept by name; level 0 takes one away", () => {
  const image = imageOf(
    feature("metadata.version", 25),
    feature("group.version", 1),
    feature("share.version", 1),
    feature("group.version", 0),
  );
  assert.deepEqual([...image.features], [["metadata.version", 25], ["share.version", 1]]);
});

test("a metadata.version that is not understood is UNSUPPORTED_VERSION", () => {
  for (const level of [6, 31, 0]) {
    assert.throws(
      () => imageOf(feature("metadata.version", level)),
      (error) => isOttlaError(error, "UNSUPPORTED_VERSION") && error.message.includes(`${level}`),
    );
  }
  for (const level of [7, 30]) imageOf(feature("metadata.version", level));
});

test("a broker's registration is followed", () => {
  const unfenced = imageOf(broker(), brokerChange({ fenced: -1 })).brokers.get(1);
  assert.equal(unfenced?.fenced, false);
  assert.deepEqual(unfenced?.logDirs, [directoryId]);
  const later = imageOf(
    broker({ fenced: false }),
    brokerChange({ inControlledShutdown: 1 }),
    brokerChange({ fenced: 1, logDirs: [otherDirectoryId] }),
  ).brokers.get(1);
  assert.deepEqual(later, {
    epoch: 5,
    incarnationId: barId,
    fenced: true,
    inControlledShutdown: true,
    logDirs: [otherDirectoryId],
  });
  const unfence: MetadataRecord = { type: "UnfenceBrokerRecord", version: 0, id: 1, epoch: 5 };
  const fence: MetadataRecord = { type: "FenceBrokerRecord", version: 0, id: 1, epoch: 5 };
  assert.equal(imageOf(broker(), unfence).brokers.get(1)?.fenced, false);
  assert.equal(imageOf(broker(), unfence, fence).brokers.get(1)?.fenced, true);
  const unregister: MetadataRecord = {
    type: "UnregisterBrokerRecord",
    version: 0,
    brokerId: 1,
    brokerEpoch: 5,
  };
  assert.equal(imageOf(broker(), unregister).brokers.size, 0);
  assertFault([], unregister, /not registered/);
  assertFault([], fence, /not registered/);
  assertFault([broker({ brokerEpoch: 6 })], unfence, /epoch 6, not 5/);
  assertFault([broker({ brokerEpoch: 6 })], brokerChange({ fenced: 1 }), /epoch 6, not 5/);
});

test("records that say nothing about topics are passed over", () => {
  const image = imageOf(
    { type: "NoOpRecord", version: 0 },
    { type: "ZkMigrationStateRecord", version: 0, zkMigrationState: 0 },
    { type: "RemoveAccessControlEntryRecord", version: 0, id: fooId },
    { type: "RemoveDelegationTokenRecord", version: 0, tokenId: "x" },
  );
  assert.deepEqual(image, metadataImage());
});

test("a transaction takes effect when it ends", () => {
  const image = imageOf(begin, topic("foo", fooId), partition());
  assert.equal(findTopic(image, "foo"), undefined);
  applyRecord(image, end);
  assert.equal(getTopic(image, "foo").partitions.size, 1);
  assert.deepEqual(finishReplay(image), []);
});

test("a transaction that is aborted or left open has no effect", () => {
  const aborted = imageOf(begin, topic("foo", fooId), abort, topic("bar", barId));
  assert.deepEqual([...aborted.topicsByName.keys()], ["bar"]);
  assert.deepEqual(finishReplay(aborted), []);
  const open = imageOf(begin, topic("foo", fooId));
  const closing = finishReplay(open);
  assert.deepEqual(open, metadataImage());
  // What the store must append lets the same log be replayed by Kafka.
  assert.deepEqual(imageOf(begin, topic("foo", fooId), ...closing), metadataImage());
});

test("transactions must be nested properly and stay out of snapshots", () => {
  assertFault([], end, /no transaction is open/);
  assertFault([], abort, /no transaction is open/);
  assertFault([begin], begin, /open already/);
  for (const record of [begin, end, abort]) {
    assert.throws(
      () => applyRecord(metadataImage(), record, "snapshot"),
      (error) => isOttlaError(error, "STORE_INVALID"),
    );
  }
  const image = metadataImage();
  applyRecord(image, topic("foo", fooId), "snapshot");
  assert.equal(image.topicsByName.size, 1);
});

test("control records give kraft.version and the voters", () => {
  const image = metadataImage();
  applyControlRecord(image, { type: "SnapshotFooterRecord", version: 0 });
  assert.deepEqual(image, metadataImage());
  applyControlRecord(image, { type: "KRaftVersionRecord", version: 0, kRaftVersion: 1 });
  applyControlRecord(image, { type: "VotersRecord", version: 0, voters: [] });
  assert.equal(image.kraftVersion, 1);
  assert.deepEqual(image.voters, []);
});
