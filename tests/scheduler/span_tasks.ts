import {
  type SchedulerProcess,
  type StageOptions,
  TestProject,
} from "./project.ts";

/** Start and end of a stage, and its GPUs. */
export type Span = readonly [start: number, end: number, gpus: string];

/** Two stages that record their start and end. */
export function spans(
  project: TestProject,
  more: Partial<StageOptions> = {},
  declared = "",
): Record<"s0" | "s1", StageOptions> {
  project.write("spans/.keep", "");
  const folder = JSON.stringify(project.path("spans"));
  project.task(
    "span",
    `const start = Date.now();
     await new Promise((r) => setTimeout(r, 400));
     Deno.writeTextFileSync(${folder} + "/" + params.n, JSON.stringify([start, Date.now(), Deno.env.get("CUDA_VISIBLE_DEVICES")]));`,
    {
      rest:
        `permissions: { write: () => [${folder}], env: ["CUDA_VISIBLE_DEVICES"] }, ${declared}`,
    },
  );
  const stage = (n: number) => ({ task: "span", params: { n }, ...more });
  return { s0: stage(0), s1: stage(1) };
}

/** What a stage has recorded. */
export function spanOf(project: TestProject, stage: "s0" | "s1"): Span {
  return JSON.parse(project.read("spans", stage.slice(1)));
}

/** What both stages have recorded. */
export function spansOf(project: TestProject): [Span, Span] {
  return [spanOf(project, "s0"), spanOf(project, "s1")];
}

/** True if the two stages ran at the same time. */
export function overlap([a, b]: readonly [Span, Span]): boolean {
  return a[0] < b[1] && b[0] < a[1];
}

/** Writes a task `hold` that runs until the function is called. */
export function holdTask(project: TestProject): () => void {
  const folder = JSON.stringify(project.path("signs"));
  project.write("signs/.keep", "");
  project.task(
    "hold",
    `for (;;) {
       if ([...Deno.readDirSync(${folder})].some(({ name }) => name === "go")) return 1;
       await new Promise((r) => setTimeout(r, 20));
     }`,
    { rest: `permissions: { read: () => [${folder}] },` },
  );
  return () => project.write("signs/go", "");
}

/** First log line that a scheduler emits. */
export async function firstLine(scheduler: SchedulerProcess): Promise<string> {
  const event = await scheduler.event(({ type }) => type === "log");
  return event.type === "log" ? `${event.stage}: ${event.line}` : "";
}
