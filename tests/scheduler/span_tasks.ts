import type { SchedulerProcess, StageOptions, TestProject } from "./project.ts";

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

/** Two stages that succeed if each of them runs while the other one does. */
export function meet(
  project: TestProject,
): Record<"one" | "two", StageOptions> {
  project.write("met/.keep", "");
  const folder = JSON.stringify(project.path("met"));
  project.task(
    "meet",
    `Deno.writeTextFileSync(${folder} + "/" + params.own, "");
     while (![...Deno.readDirSync(${folder})].some((it) => it.name === params.other)) {
       await new Promise((r) => setTimeout(r, 20));
     }
     return 1;`,
    {
      rest:
        `permissions: { read: () => [${folder}], write: () => [${folder}] },`,
    },
  );
  const stage = (own: string, other: string) => ({
    task: "meet",
    params: { own, other },
    timeout: 60,
  });
  return { one: stage("1", "2"), two: stage("2", "1") };
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

/** What makes a task wait until a test lets it go on. */
export interface Gate {
  /** Statement that waits for the sign whose name the expression gives. */
  wait(name?: string): string;
  /** Member of the task: the permission that the statement needs. */
  readonly permissions: string;
  /** Gives a sign. */
  open(name?: string): void;
  /** Takes a sign back. */
  close(name?: string): void;
}

/** A gate for the tasks of a project. */
export function gateOf(project: TestProject): Gate {
  const folder = JSON.stringify(project.path("signs"));
  project.write("signs/.keep", "");
  return {
    wait: (name = '"go"') =>
      `while (![...Deno.readDirSync(${folder})].some((it) => it.name === (${name}))) {
         await new Promise((r) => setTimeout(r, 20));
       }`,
    permissions: `permissions: { read: () => [${folder}] },`,
    open: (name = "go") => project.write(`signs/${name}`, ""),
    close: (name = "go") => Deno.removeSync(project.path("signs", name)),
  };
}

/** Writes a task `hold` that runs until the function is called. */
export function holdTask(project: TestProject): () => void {
  const { wait, permissions, open } = gateOf(project);
  project.task("hold", `${wait()} return 1;`, { rest: permissions });
  return open;
}

/** First log line that a scheduler emits. */
export async function firstLine(scheduler: SchedulerProcess): Promise<string> {
  const event = await scheduler.event(({ type }) => type === "log");
  return event.type === "log" ? `${event.stage}: ${event.line}` : "";
}
