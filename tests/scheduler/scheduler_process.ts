/** Runs a test project's stages and prints the events as JSON lines. */
import type { Settings } from "../../lib/scheduler/settings.ts";
import { run } from "../../lib/scheduler/scheduler.ts";
import { type StageOptions, TestProject } from "./project.ts";

const { folder, stages, more } = JSON.parse(Deno.args[0]!) as {
  folder: string;
  stages: Record<string, StageOptions>;
  more: Partial<Settings>;
};
const project = new TestProject(folder);
const interrupt = new AbortController();
Deno.addSignalListener("SIGINT", () => interrupt.abort());
try {
  await run(
    await project.graph(stages),
    [],
    project.settings(more),
    (event) => console.log(JSON.stringify(event)),
    interrupt.signal,
  );
} catch (error) {
  if (error !== interrupt.signal.reason) throw error;
  Deno.exit(1);
}
Deno.exit(0);
