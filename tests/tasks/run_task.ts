import { join } from "node:path";
import type { z } from "zod";
import type { Stage, Task } from "../../lib/pipeline/task.ts";

/** What a task left behind. */
export interface TaskResult {
  /** Folder of the artifact. */
  readonly output: string;
  readonly log: readonly string[];
  readonly metrics: ReadonlyMap<string, number>;
}

/**
 * Runs a task in this process, in a folder of its own, as commands do.
 *
 * @param folder Where to make that folder.
 * @param inputs Folders of the artifacts for each input.
 * @param given What the stage is given otherwise than by default: its engine, a
 * checkpoint, a signal.
 */
export async function runTask<Params extends z.ZodObject>(
  task: Task<Params>,
  folder: string,
  params: z.input<Params>,
  inputs: Readonly<Record<string, string | readonly string[]>> = {},
  given: Partial<Stage<never>> = {},
): Promise<TaskResult> {
  const output = await Deno.makeTempDir({ dir: folder, prefix: "output-" });
  const checkpoint = await Deno.makeTempDir({ dir: folder, prefix: "check-" });
  const log: string[] = [];
  const metrics = new Map<string, number>();
  await task.run({
    params: task.params.parse(params),
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, paths]) => [
        name,
        [paths].flat().map((path) => ({
          stage: name,
          matrix: {},
          path,
          visiblePath: path,
        })),
      ]),
    ),
    output,
    checkpoint,
    cpus: 1,
    runtimes: {},
    signal: new AbortController().signal,
    progress() {},
    saved() {},
    log: (line) => log.push(line),
    metric: (name, value) => metrics.set(name, value),
    ...given,
  });
  for (const file of task.output.files) await Deno.stat(join(output, file));
  return { output, log, metrics };
}

/** Calls a function with a folder that is removed afterwards. */
export async function withFolder(
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
