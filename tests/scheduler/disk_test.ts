import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { openStore } from "../../lib/scheduler/context.ts";
import { messageOf } from "../../lib/scheduler/failure.ts";
import { openResults } from "../../lib/scheduler/results.ts";
import type { Store } from "../../lib/store/store.ts";
import { SmallDisk } from "../files/small_disk.ts";
import { type StageOptions, TestProject } from "./project.ts";

const ignore = !SmallDisk.isPossible;

/** Fills a disk. */
function fill(disk: string): void {
  using file = Deno.openSync(`${disk}/filler`, { write: true, create: true });
  for (const size of [65_536, 4096]) {
    try {
      for (;;) file.writeSync(new Uint8Array(size));
    } catch (error) {
      assertMatch(String(error), /os error 28/);
    }
  }
}

function failures(events: Awaited<ReturnType<TestProject["run"]>>["events"]) {
  return events.flatMap((event) =>
    event.type === "failed" ? [event.message] : []
  );
}

Deno.test(
  "run() fails on a full disk, leaves no partial result, and succeeds when there is space again",
  { ignore },
  async () => {
    using project = new TestProject();
    using disk = new SmallDisk(1_450_000);
    project.task("big", "return 'x'.repeat(params.size);");
    const stages = (size: number): Record<string, StageOptions> => ({
      big: { task: "big", params: { size } },
    });
    // No space for the stage; for the stage but not for the cache; for the log.
    for (const size of [2_000_000, 700_000]) {
      const { summary, events } = await project.run(stages(size), {
        out: disk.path,
      });
      assertEquals(summary.failed, 1);
      assertMatch(failures(events)[0]!, /space/i);
      await assertRejects(() => Deno.stat(`${disk.path}/test/big`));
    }
    const filler = `${disk.path}/filler`;
    Deno.writeTextFileSync(filler, "x".repeat(400_000));
    const { summary } = await project.run(stages(500_000), { out: disk.path });
    assertEquals(summary.failed, 1);
    Deno.removeSync(filler);
    const freed = await project.run(stages(500_000), { out: disk.path });
    assertEquals(freed.summary.ran, 1, failures(freed.events).join());
    assertEquals(
      Deno.readTextFileSync(`${disk.path}/test/big/out.txt`).length,
      500_000,
    );
  },
);

Deno.test(
  "run() leaves the former output and no part of the next one if the disk of the outputs is full",
  { ignore },
  async () => {
    using project = new TestProject();
    using disk = new SmallDisk(1_000_000);
    project.task("make", "return 'x'.repeat(params.size);");
    Deno.mkdirSync(project.path("out"));
    Deno.symlinkSync(disk.path, project.path("out/test"));
    for (const size of [1000, 2_000_000, 2_000_000]) {
      const stages = { make: { task: "make", params: { size } } };
      const { summary } = await project.run(stages);
      assertEquals(summary.failed, size > 1000 ? 1 : 0);
      const names = [...Deno.readDirSync(disk.path)].map(({ name }) => name);
      assertEquals(names, ["make"]);
      assertEquals(project.read("out/test/make/out.txt").length, 1000);
    }
  },
);

Deno.test(
  "run() reuses results of a read-only cache, and fails when a stage must run",
  { ignore },
  async () => {
    using project = new TestProject();
    using disk = new SmallDisk(10_000_000);
    project.task("make", "return params.text;");
    const stages = (text: string): Record<string, StageOptions> => ({
      make: { task: "make", params: { text } },
    });
    await project.run(stages("a"), { out: disk.path });
    disk.makeReadOnly();
    const again = await project.run(stages("a"), { out: disk.path });
    assertEquals(again.summary.unchanged, 1);
    const plan = await project.plan(stages("b"), { out: disk.path });
    assertEquals(plan.get("make")?.state, "run");
    const { summary, events } = await project.run(stages("b"), {
      out: disk.path,
    });
    assertEquals(summary.failed, 1);
    assertMatch(
      failures(events)[0]!,
      /is not writable, so no stage can run/,
    );
    const empty = project.run(stages("b"), { out: `${disk.path}/new` });
    const { message } = await assertRejects(() => empty, Error);
    assertEquals(message.split("is not writable").length, 2, message);
  },
);

Deno.test(
  "plan() finds the results of a read-only cache from another copy of the project",
  { ignore },
  async () => {
    using disk = new SmallDisk(1_000_000);
    const stages = { make: { task: "make" } };
    using project = new TestProject();
    using copy = new TestProject();
    for (const it of [project, copy]) it.task("make", "return 'made';");
    await project.run(stages, { out: disk.path });
    disk.makeReadOnly();
    const plan = await copy.plan(stages, { out: disk.path });
    assertEquals(plan.get("make")?.state, "unchanged");
  },
);

Deno.test(
  "openResults() opens results of a read-only cache and on a full disk, and leaves nothing behind",
  { ignore },
  async () => {
    using project = new TestProject();
    project.task("make", "return 'made';");
    const graph = await project.graph({ make: { task: "make" } });
    for (const harm of ["full", "read-only"] as const) {
      using disk = new SmallDisk(1_000_000);
      const settings = project.settings({ out: disk.path });
      await project.run({ make: { task: "make" } }, { out: disk.path });
      if (harm === "full") fill(disk.path);
      else disk.makeReadOnly();
      const store = openStore(settings);
      const results = await openResults(
        graph,
        "make",
        ["make"],
        settings,
        store,
      );
      const folder = results.of("make");
      assertEquals(Deno.readTextFileSync(`${folder}/out.txt`), "made", harm);
      results[Symbol.dispose]();
      await assertRejects(() => Deno.stat(folder), Deno.errors.NotFound);
    }
  },
);

Deno.test(
  "run() and plan() with nothing to do succeed on a full disk",
  { ignore },
  async () => {
    using project = new TestProject();
    using disk = new SmallDisk(1_000_000);
    project.write("data.txt", "data");
    project.task("make", "return Deno.readTextFileSync(params.data);", {
      rest: "sources: (params: any) => ({ data: params.data }),",
    });
    const stages = { make: { task: "make", params: { data: "data.txt" } } };
    await project.run(stages, { out: disk.path });
    fill(disk.path);
    // The stat cache is outdated, and there is no space to save it.
    Deno.utimeSync(project.path("data.txt"), 1, 1);
    const { summary } = await project.run(stages, { out: disk.path });
    assertEquals(summary.unchanged, 1);
    const plan = await project.plan(stages, { out: disk.path });
    assertEquals(plan.get("make")?.state, "unchanged");
  },
);

Deno.test(
  "run() names the cache when changed code cannot be stored",
  { ignore },
  async () => {
    for (const harm of ["full", "read-only"] as const) {
      using project = new TestProject();
      using disk = new SmallDisk(1_000_000);
      project.task("make", "return 1;");
      const stages = { make: { task: "make" } };
      await project.run(stages, { out: disk.path });
      project.task("make", "return 2;");
      if (harm === "full") fill(disk.path);
      else disk.makeReadOnly();
      assertIsError(
        await assertRejects(() => project.run(stages, { out: disk.path })),
        Error,
        harm === "full"
          ? /No space left on the disk of ".*cache"; free some space, or clean up the cache: deno task cache gc/
          : /"\/.*cache" is not writable, so no stage can run/,
      );
    }
  },
);

Deno.test("messageOf() names the path that was denied, and the cache only if it is in it", () => {
  const store = { folder: "/o/cache" } as Store;
  const of = (detail: string) => {
    const text = `Permission denied (os error 13): ${detail}`;
    return messageOf(new Deno.errors.PermissionDenied(text), store);
  };
  for (
    const [detail, expected] of [
      [
        "open '/o/s/b/t.txt'",
        /^"\/o\/s\/b\/t\.txt" cannot be read or written; /,
      ],
      ["rename '/o/cache/runs/1' -> '/o/s/.b'", /^"\/o\/s\/\.b" cannot be/],
      ["mkdir '/o/cache'", /^The cache "\/o\/cache" is not writable/],
      ["open '/o/cache/locks/a'", /^The cache "\/o\/cache" is not writable/],
    ] as const
  ) assertMatch(of(detail), expected);
});
