/**
 * A program whose producers send and whose consumer commits until it is killed, and that says after
 * every round how many rounds are acknowledged and committed.
 *
 * Its parameter is the store's folder.
 */
import process from "node:process";
import { commit, openConsumer, openProducer, openStore, poll, send } from "../../mod.ts";
import type { Consumer } from "../../mod.ts";
import { makeProducedRecord, producedPlan } from "./produced_plan.ts";

const { topic, groupId, producerCount, partitionCount, roundRecords } = producedPlan;
const pollsMax = 1_000;
/** Nobody killed it: give up. */
const roundsMax = 100_000;

const [folder = ""] = process.argv.slice(2);
const store = await openStore(folder);
const producers = Array.from(
  { length: producerCount },
  (_, index) =>
    openProducer(store, { compression: index === 1 ? "gzip" : "none", lingerMs: index }),
);
const consumer = await openConsumer(store, {
  groupId,
  topics: [topic],
  autoOffsetReset: "latest",
  autoCommit: false,
});
for (let round = 0; round < roundsMax; round++) {
  const sent = producers.flatMap((producer, index) =>
    Array.from({ length: roundRecords * partitionCount }, (_, place) => {
      const ack = place % 3 === 0 ? "disk" : "os";
      return send(producer, topic, makeProducedRecord(index, round, place), { ack });
    })
  );
  await Promise.all(sent);
  await receive(consumer, sent.length);
  await commit(consumer);
  process.stdout.write(`${round + 1}\n`);
}

async function receive(source: Consumer, count: number): Promise<void> {
  let receivedCount = 0;
  for (let polls = 0; polls < pollsMax && receivedCount < count; polls++) {
    receivedCount += (await poll(source)).length;
  }
  if (receivedCount !== count) throw new Error(`Got ${receivedCount} records, expected ${count}`);
}
