import { assertEquals, assertMatch } from "@std/assert";
import { type StageOptions, TestProject } from "./project.ts";

/** A file whose content differs each time it is read. */
const RESTLESS = "/proc/sys/kernel/random/uuid";

Deno.test(
  "run() fails a stage whose source changes each time it is read",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    using project = new TestProject();
    project.task("reader", "return 1;", {
      rest: "sources: (params: any) => params,",
    });
    // One digit may be read only, which can be the same twice; four are
    // unlikely to be.
    const params = { a: RESTLESS, b: RESTLESS, c: RESTLESS, d: RESTLESS };
    const { summary, events } = await project.run({
      reader: { task: "reader", params },
    });
    assertEquals(summary.failed, 1);
    const failed = events.find((event) => event.type === "failed");
    assertMatch(
      failed?.type === "failed" ? failed.message : "",
      /^Its sources keep changing \(source \w changed.*\); run it again when they are stable$/,
    );
  },
);

Deno.test("run() removes temporary folders that a killed process left beside visible outputs", async () => {
  using project = new TestProject();
  project.task("make", "return params.text;");
  const stages = (text: string): Record<string, StageOptions> => ({
    "kept@m=1.5": { task: "make", params: { text: `${text}${text}` } },
    made: { task: "make", params: { text } },
  });
  await project.run(stages("a"));
  project.write("out/test/.kept@m=1.5.replaced/part.txt", "sa");
  project.write("out/test/.made.replaced/out.txt", "a");
  await project.run(stages("b"));
  assertEquals(
    [...Deno.readDirSync(project.path("out/test"))].map(({ name }) => name)
      .sort(),
    ["kept@m=1.5", "made"],
  );
});

Deno.test(
  "run() does not disturb a scheduler with the same PID in another container",
  { ignore: Deno.build.os !== "linux" || Deno.uid() !== 0 },
  async () => {
    using project = new TestProject();
    project.task(
      "slow",
      "stage.log('begun'); await new Promise((r) => setTimeout(r, 600)); return params.n;",
    );
    const stages = (n: number): Record<string, StageOptions> => ({
      same: { task: "slow", params: { n } },
    });
    const contained = ["unshare", "--pid", "--fork", "--kill-child"];
    const rivals = [1, 2].map((n) => project.spawn(stages(n), {}, contained));
    for (const rival of rivals) {
      const summary = await rival.end();
      assertEquals(
        summary?.type === "summary" && summary.ran,
        1,
        JSON.stringify(rival.events),
      );
    }
  },
);
