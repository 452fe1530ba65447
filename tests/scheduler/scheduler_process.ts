/** Runs a test project's stages and prints the events as JSON lines. */
import { Slurm } from "../../lib/slurm/executor.ts";
import type { SlurmSettings } from "../../lib/slurm/settings.ts";
import type { Settings } from "../../lib/scheduler/settings.ts";
import type { Event } from "../../lib/scheduler/events.ts";
import { run } from "../../lib/scheduler/scheduler.ts";
import { type StageOptions, TestProject } from "./project.ts";

const { folder, stages, more, slurm } = JSON.parse(Deno.args[0]!) as {
  folder: string;
  stages: Record<string, StageOptions>;
  more: Partial<Settings>;
  /** Settings of the executor for Slurm, if it is to run the stages. */
  slurm?: SlurmSettings;
};
const project = new TestProject(folder);
const interrupt = new AbortController();
Deno.addSignalListener("SIGINT", () => interrupt.abort());
const print = (event: Event) => console.log(JSON.stringify(event));
try {
  await run(
    await project.graph(stages),
    [],
    project.settings({
      ...more,
      ...(slurm &&
        {
          executor: new Slurm(
            slurm,
            (text) =>
              print({ type: "log", stage: "", line: text, stream: "log" }),
          ),
        }),
    }),
    print,
    interrupt.signal,
  );
} catch (error) {
  if (error !== interrupt.signal.reason) throw error;
  Deno.exit(1);
}
Deno.exit(0);
