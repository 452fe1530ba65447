import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../lib/store/blobs.ts";
import { writeEventFiles } from "../../lib/track/event_files.ts";
import {
  type RecordedRun,
  recordedRuns,
} from "../../lib/track/recorded_runs.ts";
import { withFolder } from "../tasks/run_task.ts";
import { filledStore } from "./made_results.ts";
import { PYTHON } from "./tracking_server.ts";

const REFERENCE = join(
  import.meta.dirname!,
  "../../fixtures/references/events.tfevents",
);

/** The run of `fixtures/event_file.py`. */
const RUN: RecordedRun = {
  key: "0".repeat(64),
  name: "train",
  stage: "train",
  kind: "training",
  started: 1_772_366_400_250,
  ended: 1_772_366_500_000,
  params: { method: "dylora" },
  points: [
    { name: "train/loss", step: 1, value: 0.7, time: 1_772_366_401_000 },
    { name: "train/loss", step: 300, value: 0.5, time: 1_772_366_499_500 },
    {
      name: "ranks/größe",
      step: 5_000_000_000,
      value: -1e-6,
      time: 1_772_366_500_000,
    },
  ],
};

Deno.test("writeEventFiles() writes the bytes that TensorBoard's own writer writes", () =>
  withFolder(async (folder) => {
    assertEquals(await writeEventFiles([RUN], folder), {
      added: 1,
      replaced: 0,
    });
    const [path] = listFiles(folder, "refuse");
    assertEquals(path, "train/events.out.tfevents.dylora");
    assertEquals(
      await Deno.readFile(join(folder, path!)),
      await Deno.readFile(REFERENCE),
    );
  }));

Deno.test("writeEventFiles() leaves files that are there as they are, and completes one that is cut off", () =>
  withFolder(async (folder) => {
    await writeEventFiles([RUN], folder);
    const [path] = listFiles(folder, "refuse");
    const before = await Deno.stat(join(folder, path!));
    assertEquals(await writeEventFiles([RUN], folder), {
      added: 0,
      replaced: 0,
    });
    assertEquals((await Deno.stat(join(folder, path!))).ino, before.ino);
    await Deno.truncate(join(folder, path!), 100);
    assertEquals(await writeEventFiles([RUN], folder), {
      added: 0,
      replaced: 1,
    });
    assertEquals(listFiles(folder, "refuse"), [path!]);
    assertEquals((await Deno.stat(join(folder, path!))).size, before.size);
  }));

Deno.test("writeEventFiles() replaces the event file of a run whose stage was run again, and leaves files of others", () =>
  withFolder(async (folder) => {
    await writeEventFiles([RUN], folder);
    const foreign = "train/events.out.tfevents.1772366400.host.1.0";
    await Deno.writeTextFile(join(folder, foreign), "");
    const started = RUN.started + 100_000;
    const again = { ...RUN, started };
    const other = { ...RUN, name: "other", key: "1".repeat(64) };
    assertEquals(await writeEventFiles([again, other], folder), {
      added: 1,
      replaced: 1,
    });
    const files = [
      "other/events.out.tfevents.dylora",
      foreign,
      "train/events.out.tfevents.dylora",
    ];
    assertEquals(listFiles(folder, "refuse").toSorted(), files.toSorted());
    assertEquals(await writeEventFiles([again, other], folder), {
      added: 0,
      replaced: 0,
    });
  }));

Deno.test({
  name: "TensorBoard reads every value, step, time and setting of event files",
  ignore: PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const store = await filledStore(join(folder, "cache"));
      const runs = await recordedRuns("made", store, (text) => {
        throw new Error(text);
      });
      const events = join(folder, "events");
      await writeEventFiles(runs, events);
      const { code, stdout, stderr } = await new Deno.Command(PYTHON!, {
        args: [join(import.meta.dirname!, "read_event_files.py"), events],
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const read = JSON.parse(new TextDecoder().decode(stdout));
      const expected = Object.fromEntries(runs.map((run) => {
        const scalars: Record<string, number[][]> = {};
        for (const { name, step, value, time } of run.points) {
          scalars[name] ??= [];
          scalars[name].push([time / 1000, step, Math.fround(value)]);
        }
        return [run.name, { scalars, settings: run.params }];
      }));
      assertEquals(read, expected);
    }),
});
