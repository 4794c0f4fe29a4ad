/**
 * Folders that a real Kafka wrote: opened, read, written to, and still what a broker can start on
 * (src/FORMAT.md, section 8).
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { append } from "../../src/client/append.ts";
import { offsetsOf } from "../../src/client/offsets.ts";
import { readBatches } from "../../src/client/read.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { topicConfigEntries } from "../../src/store/metadata_image.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, describeTopic, listTopics } from "../../src/store/topics.ts";
import {
  copyFolder,
  crashStore,
  openTestStore,
  rootNames,
  storeFolder,
  textOfFile,
  valuesIn,
  withStore,
} from "../support/store_fixture.ts";

const fixtures = "tests/fixtures/kafka_4_1_1";

interface Expected {
  readonly clusterId: string;
  readonly topics: readonly {
    readonly name: string;
    readonly topicId: string;
    readonly configs: Readonly<Record<string, string>>;
    readonly partitions: readonly {
      readonly partition: number;
      readonly startOffset: number;
      readonly endOffset: number;
      readonly batchCount: number;
      readonly recordCount: number;
    }[];
  }[];
}

function kafkaFolder(name: string): { fs: FileSystem; expected: Expected } {
  const fs = memoryFileSystem();
  copyFolder(diskFileSystem(), `${fixtures}/${name}`, fs);
  const expected = JSON.parse(readFileSync(`${fixtures}/${name}.json`, "utf8")) as Expected;
  return { fs, expected };
}

for (const name of ["static_4_0", "standalone_4_1"]) {
  for (const isClean of [true, false]) {
    const how = isClean ? "cleanly stopped" : "killed";
    test(`a folder of a Kafka that was ${how} opens with all that is in it: ${name}`, async () => {
      const { fs, expected } = kafkaFolder(name);
      if (!isClean) fs.remove(joinPath(storeFolder, ".kafka_cleanshutdown"));
      await withStore(async (store) => {
        const { clusterId, image, recovery } = internalsOf(store);
        assert.equal(clusterId, expected.clusterId);
        assert.equal(recovery.wasClean, isClean);
        assert.deepEqual(
          listTopics(store, { includesInternal: true }),
          expected.topics.map((topic) => topic.name).sort(),
        );
        for (const topic of expected.topics) {
          assert.equal(describeTopic(store, topic.name).topicId, topic.topicId);
          assert.deepEqual(
            Object.fromEntries(topicConfigEntries(image, topic.name)),
            topic.configs,
          );
          assert.deepEqual(
            offsetsOf(store, topic.name).map(({ partition, startOffset, endOffset }) => [
              partition,
              startOffset,
              endOffset,
            ]),
            topic.partitions.map(({ partition, startOffset, endOffset }) => [
              partition,
              startOffset,
              endOffset,
            ]),
          );
          for (const { partition, batchCount, recordCount } of topic.partitions) {
            let batches = 0;
            let records = 0;
            for await (const batch of readBatches(store, topic.name, { partition })) {
              batches++;
              records += batch.recordCount;
            }
            assert.deepEqual([batches, records], [batchCount, recordCount], topic.name);
          }
        }
        assert.ok(!rootNames(fs).some((entry) => entry.endsWith("-delete")), "as a broker would");
      }, { fileSystem: fs });
    });
  }

  test(`a folder of Kafka's is written to, closed, and crashed on: ${name}`, async () => {
    const { fs, expected } = kafkaFolder(name);
    const metaBefore = textOfFile(fs, "meta.properties");
    const topic = expected.topics.find((one) => one.name === "codec-none")!;
    const { endOffset } = topic.partitions[0]!;
    await withStore(async (store) => {
      assert.equal((await append(store, topic.name, { value: "ours" })).offset, endOffset);
      await createTopic(store, "ours", { partitions: 2 });
    }, { fileSystem: fs });
    assert.equal(textOfFile(fs, "meta.properties"), metaBefore);
    assert.ok(!rootNames(fs).includes(".kafka_cleanshutdown"));
    const store = await openTestStore(fs);
    assert.ok(internalsOf(store).recovery.wasClean);
    await append(store, "ours", { value: "v0" }, { ack: "os" });
    crashStore(store, fs);
    await withStore(async (reopened) => {
      assert.deepEqual(await valuesIn(reopened, "ours"), ["v0"]);
      assert.equal((await valuesIn(reopened, topic.name)).at(-1), "ours");
      const topics = listTopics(reopened, { includesInternal: true });
      assert.equal(topics.length, expected.topics.length + 1);
    }, { fileSystem: fs });
    const quorum = readFile(fs, joinPath(storeFolder, "__cluster_metadata-0/quorum-state"))!;
    const version = name.startsWith("standalone") ? 1 : 0;
    assert.match(new TextDecoder().decode(quorum), new RegExp(`"data_version":${version}`));
  });
}
