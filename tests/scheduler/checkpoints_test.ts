import { assert, assertEquals } from "@std/assert";
import { TestProject } from "./project.ts";

const isLog = (line: string) => (event: { type: string; line?: string }) =>
  event.type === "log" && event.line === line;

const stages = { trainer: { task: "trainer", params: { data: "data.txt" } } };

/** A project with a stage that reads `data.txt`, which says "old". */
function withTrainer(body: string): TestProject {
  const project = new TestProject();
  project.write("data.txt", "old");
  project.task("trainer", body, {
    rest: "sources: (params: any) => ({ data: params.data }),",
  });
  return project;
}

Deno.test("run() drops a checkpoint when a source changed in between, even if it was changed back", async () => {
  using project = withTrainer(
    `const file = stage.checkpoint + "/state";
     try { return Deno.readTextFileSync(file); } catch { /* nothing to go on from */ }
     stage.log("begun");
     let text = "old";
     for (let i = 0; i < 250 && text === "old"; i++) {
       text = Deno.readTextFileSync(params.data);
       await new Promise((r) => setTimeout(r, 20));
     }
     Deno.writeTextFileSync(file, text);
     stage.log("saved");
     if (text !== "old") await new Promise((r) => setTimeout(r, 1e6));
     return text;`,
  );
  const killed = project.spawn(stages);
  await killed.event(isLog("begun"));
  project.write("data.txt", "new");
  await killed.event(isLog("saved"));
  killed.process.kill("SIGKILL");
  await killed.end();
  project.write("data.txt", "old");
  const { summary } = await project.run(stages);
  assertEquals(summary.ran, 1);
  assertEquals(project.read("out/test/trainer/out.txt"), "old");
});

Deno.test("run() resumes from a checkpoint after SIGKILL when the sources have not changed", async () => {
  using project = withTrainer(
    `const file = stage.checkpoint + "/state";
     try { return "from " + Deno.readTextFileSync(file); } catch { /* nothing to go on from */ }
     Deno.writeTextFileSync(file, Deno.readTextFileSync(params.data));
     stage.log("saved");
     await new Promise((r) => setTimeout(r, 1e6));`,
  );
  const killed = project.spawn(stages);
  await killed.event(isLog("saved"));
  killed.process.kill("SIGKILL");
  await killed.end();
  assertEquals((await project.run(stages)).summary.ran, 1);
  assertEquals(project.read("out/test/trainer/out.txt"), "from old");
});

Deno.test("run() adds the seconds up to a checkpoint to those of the attempt that resumes from it, unless a source changed", async () => {
  using project = withTrainer(
    `const file = stage.checkpoint + "/state";
     try { return "from " + Deno.readTextFileSync(file); } catch { /* nothing to go on from */ }
     const text = Deno.readTextFileSync(params.data);
     if (text !== "new") await new Promise((r) => setTimeout(r, 3000));
     Deno.writeTextFileSync(file, text);
     stage.saved("the middle");
     if (text !== "new") await new Promise((r) => setTimeout(r, 1e6));
     return text;`,
  );
  const secondsOf = async () => {
    const { events } = await project.run(stages);
    const [seconds] = events.flatMap((it) =>
      it.type === "finished" && it.outcome === "ran" ? it.seconds : []
    );
    return seconds!;
  };
  const interrupt = async () => {
    const killed = project.spawn(stages);
    await killed.event(({ type }: { type: string }) => type === "saved");
    killed.process.kill("SIGKILL");
    await killed.end();
  };
  await interrupt();
  const resumed = await secondsOf();
  assertEquals(project.read("out/test/trainer/out.txt"), "from old");
  assert(resumed > 3, `${resumed} s`);
  project.write("data.txt", "other");
  await interrupt();
  project.write("data.txt", "new");
  const anew = await secondsOf();
  assertEquals(project.read("out/test/trainer/out.txt"), "new");
  // The attempt that was killed alone took three seconds more.
  assert(anew < resumed, `${anew} s`);
});
