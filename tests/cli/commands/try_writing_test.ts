import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { readModel } from "../../../lib/artifacts/model.ts";
import { writeAdapter } from "../../../lib/peft/adapter.ts";
import { PROJECT } from "../../../lib/cli/arguments/options.ts";
import { procFile } from "../../../lib/scheduler/executors/local.ts";
import { hasLandlock } from "../../../lib/scheduler/landlock.ts";
import { fixture } from "../../engine/reference.ts";
import { randomAdapter } from "../../tasks/random_adapter.ts";
import { REFERENCE_TRAINING } from "../../tasks/reference_adapter.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { withEnvironment } from "../../tasks/with_environment.ts";
import { ServedPage } from "../pages/served_page.ts";
import { CliProject } from "../project.ts";

const MODEL = fixture("tiny-llama");

/** A task that copies a folder, as if it had made what is in it. */
const give = (kind: string, file: string, inputs = "") => `
import * as z from "zod";
export default {
  description: "Copies a folder",
  params: z.strictObject({ from: z.string() }),
  inputs: { ${inputs} },
  output: { kind: "${kind}", files: ["${file}"] },
  permissions: { read: () => ["/"] },
  run({ params: { from }, output }) {
    for (const { name } of Deno.readDirSync(from)) {
      Deno.copyFileSync(from + "/" + name, output + "/" + name);
    }
  },
};`;

/** Ids of the processes that a process has started. */
function childrenOf(pid: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((it) =>
      procFile(it, "stat").split(") ")[1]?.split(" ")[1] === `${pid}`
    );
}

Deno.test("try serves what a confined process writes after a text, token by token, a text ends the one before, and its end the server", () =>
  withFolder(async (folder) => {
    const adapter = join(folder, "adapter");
    Deno.mkdirSync(adapter);
    const targets = [...readModel(MODEL).architecture.targetModules];
    const { rank } = REFERENCE_TRAINING;
    await writeAdapter(adapter, {
      baseModel: { name: "org/tiny", revision: null },
      training: {
        ...REFERENCE_TRAINING,
        ...{ problem: "language", labels: null, targetModules: targets },
      },
      tensors: randomAdapter(MODEL, rank, targets, 1, { head: "language" }),
    });
    using project = new CliProject(`name: own
stages:
  model: { task: model, with: { from: ${JSON.stringify(MODEL)} } }
  train:
    task: train
    with: { from: ${JSON.stringify(adapter)} }
    inputs: { model: model }
`);
    project.write("tasks/model.ts", give("model", "config.json"));
    const inputs = 'model: { kind: "model" }';
    project.write(
      "tasks/train.ts",
      give("adapter", "training.json", inputs),
    );
    const run = await project.call("pipeline");
    assertEquals(run.code, 0, run.stderr);
    await using page = await withEnvironment(
      { UNDECLARED: "1" },
      () => ServedPage.start("try", project),
    );
    const about = await page.ask("about.json");
    assertEquals([about.stage, about.ranks.at(-1)], ["train", rank]);
    const written = (text: string, rank: number) =>
      fetch(
        `${page.url}written?${new URLSearchParams({ text, rank: `${rank}` })}`,
      );
    const linesOf = async (response: Response) =>
      (await response.text()).trimEnd().split("\n").map((it) => JSON.parse(it));
    const before = await written("the film", rank);
    const lines = await linesOf(await written("the film", rank));
    assertEquals(lines.at(-1), { id: 2, isDone: true });
    assert(lines.length > 3);
    assert((await linesOf(before).catch(() => [])).length < lines.length);
    const texts = lines.slice(0, -1).map(({ written }) => written);
    assert(texts.at(-1).length > texts[0].length);
    const [problem] = await linesOf(await written("", rank));
    assertStringIncludes(problem.problem, "Prompt 1 is empty");
    assertEquals((await written("a", rank + 1)).status, 404);
    const script = await fetch(`${page.url}page.js`);
    assertStringIncludes(await script.text(), "Text to continue");
    const other = await fetch(`${page.url}constructor`);
    assertEquals([other.status, await other.text()], [404, "Page not found\n"]);

    const [writer] = childrenOf(page.process.pid);
    const said = (name: string) =>
      Deno.readTextFileSync(`/proc/${writer}/${name}`).split("\0");
    const [read] = said("cmdline").filter((it) =>
      it.startsWith("--allow-read")
    );
    assertStringIncludes(read!, `=${PROJECT},`);
    assertEquals(said("environ").filter((it) => /^UNDECLARED/.test(it)), []);
    if (hasLandlock() && said("cmdline").includes("--allow-ffi")) {
      assertMatch(said("status")[0]!, /^NoNewPrivs:\s+1$/m);
    }
    Deno.kill(writer!, "SIGKILL");
    const stderr = await new Response(page.process.stderr).text();
    assertStringIncludes(stderr, "writes texts has ended: SIGKILL");
    assertEquals((await page.process.status).code, 1);
  }));
