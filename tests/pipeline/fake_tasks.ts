import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expandPipeline, type LoadOptions } from "../../lib/pipeline/load.ts";
import { PipelineError } from "../../lib/pipeline/faults.ts";
import type { Graph } from "../../lib/pipeline/graph.ts";

/**
 * Task modules as a user would write them: a source, a transformer, and one
 * that gathers.
 */
const MODULES: Readonly<Record<string, string>> = {
  fetch: `
    import * as z from "zod";
    export default {
      description: "Makes a data set",
      params: z.strictObject({
        source: z.string().min(1),
        rows: z.number().int().positive().default(10),
        options: z.strictObject({ mode: z.enum(["all", "frozen"]) }).optional(),
      }),
      inputs: {},
      output: { kind: "dataset", files: ["data.txt"] },
      sources: ({ source }) => source.startsWith("/") ? { source } : {},
      run: async () => {},
    };`,
  train: `
    import * as z from "zod";
    export default {
      description: "Trains on a data set",
      params: z.object({
        lr: z.number().positive().default(0.001),
        seed: z.number().int().default(0),
        note: z.string().optional(),
        ranks: z.array(z.int()).min(2).optional(),
        draw: z.discriminatedUnion("kind", [
          z.strictObject({ kind: z.literal("uniform") }),
          z.strictObject({ kind: z.literal("list"), of: z.array(z.int()) }),
        ]).optional(),
      }),
      inputs: {
        data: { kind: "dataset" },
        start: { kind: "model", optional: true },
      },
      output: { kind: "model", files: ["model.txt"] },
      needs: ["engine"],
      run: async () => {},
    };`,
  report: `
    import * as z from "zod";
    export default {
      description: "Compares models",
      params: z.object({}),
      inputs: { models: { kind: "model", many: true } },
      output: { kind: "report", files: ["report.md"] },
      timings: true,
      run: async () => {},
    };`,
  broken: `throw new Error("the module is broken");`,
  empty: `export default { description: "no task" };`,
};

/** Runs a test with a folder that holds the task modules. */
export async function withTasks(
  test: (tasks: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tasks-"));
  try {
    for (const [name, text] of Object.entries(MODULES)) {
      await writeFile(join(folder, `${name}.ts`), text);
    }
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Loads a pipeline from its text. */
export function load(
  tasks: string,
  text: string,
  options: Omit<LoadOptions, "tasks"> = {},
): Promise<Graph> {
  return expandPipeline("test.yaml", text, { tasks, ...options });
}

/** The faults of a text as `line:column message`. */
export async function faultsOf(
  tasks: string,
  text: string,
  options: Omit<LoadOptions, "tasks"> = {},
): Promise<string[]> {
  try {
    await load(tasks, text, options);
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error;
    return error.faults.map(({ message, position, setting }) =>
      setting !== undefined
        ? `-S ${setting}: ${message}`
        : position
        ? `${position.line}:${position.column} ${message}`
        : message
    );
  }
  return [];
}
