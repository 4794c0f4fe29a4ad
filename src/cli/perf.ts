/** `ottla perf`: measures sending and consuming, with the options and the words of Kafka's tools. */

import type { Command } from "./command.ts";
import { runVerb } from "./command.ts";
import { runPerfConsume } from "./perf_consume.ts";
import { runPerfProduce } from "./perf_produce.ts";

const help = `Usage: ottla perf produce <folder> <topic> --num-records <count> <payload> [options]
       ottla perf consume <folder> <topic> [options]

Measures a producer or a consumer in this process, as kafka-producer-perf-test and kafka-consumer-perf-test do, and
prints the lines that they print. A MB has 1,048,576 bytes. The store is opened, so nobody else may have it open.
Ctrl+C ends the run with the summary of what was done.

Payload of produce, one of
  --record-size <bytes>        random capital letters
  --payload-file <path>        parts of this file, picked at random
  --payload-monotonic          0, 1, 2, … as text

Options of produce:
  --payload-delimiter <text>   what stands between the parts of the file: a line feed unless given
  --throughput <number>        so many records a second, -1 for as many as possible (unless given)
  --acks <level>               wait for disk (unless given), os or memory
  --batch-bytes <bytes>        how large a batch becomes: 65536 unless given
  --linger-ms <ms>             how long a batch waits for more records: 0 unless given
  --buffer-bytes <bytes>       how much may wait for its acknowledgement: 33554432 unless given
  --compression <codec>        none, gzip, snappy, lz4 or zstd; the topic's unless given
  --warmup-records <count>     sum up what follows so many records once more
  --create                     create the topic, and the store, if there is none
  --partitions <count>         with --create: how many partitions, 1 unless given

Options of consume:
  --messages <count>           how many records to consume; all unless given
  --group <id>                 go on where this group has stopped, and commit; without it nothing is committed
  --from-latest                begin at the end where nothing was committed
  --timeout <ms>               how long to wait when there are no records: 0 unless given, as nobody can append
  --show-detailed-stats        print each interval in place of the summary
  --hide-header                print no titles

Options of both:
  --reporting-interval <ms>    how long an interval is: 5000 unless given
  --json                       print the summary as one JSON object
  -h, --help

A producer's latency is the time from sending a record to its acknowledgement. Of more than 500,000 records it takes
the percentiles from a sample. Intervals and progress go to standard error.
`;

/** The command. */
export const perfCommand: Command = {
  name: "perf",
  summary: "measure producing and consuming",
  help,
  run: (args, io) =>
    runVerb("perf", { produce: runPerfProduce, consume: runPerfConsume }, args, io),
};
