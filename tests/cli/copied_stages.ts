import { assertEquals } from "@std/assert";
import { CliProject } from "./project.ts";

/** Folders that stages copy, as if they had made them. */
export interface CopiedFolders {
  readonly model: string;
  readonly dataset?: string;
  /** An adapter on the model, which was trained on the data set. */
  readonly train: string;
}

const FILES = {
  model: { kind: "model", file: "config.json" },
  dataset: { kind: "dataset", file: "dataset.json" },
  train: { kind: "adapter", file: "training.json" },
} as const;

/** The tasks that `try` and `predict` run on an adapter. */
const TASKS = ["export-onnx", "embed"];

/**
 * A project with a pipeline that has run, whose stages have copied folders.
 */
export async function copiedStages(
  folders: CopiedFolders,
): Promise<CliProject> {
  const names = (["model", "dataset", "train"] as const)
    .filter((name) => folders[name] !== undefined);
  const stages = names.map((name) => {
    const inputs = inputsOf(name, names).map((it) => `${it}: ${it}`);
    return `  ${name}:
    task: ${name}
    with: { from: ${JSON.stringify(folders[name])} }
    inputs: { ${inputs.join(", ")} }
`;
  });
  const project = new CliProject(`name: own\nstages:\n${stages.join("")}`);
  for (const name of names) {
    project.write(`tasks/${name}.ts`, copyTask(name, inputsOf(name, names)));
  }
  for (const task of TASKS) {
    const { href } = new URL(`../../tasks/${task}.ts`, import.meta.url);
    project.write(`tasks/${task}.ts`, `export { default } from "${href}";\n`);
  }
  const { code, stderr } = await project.call("pipeline");
  assertEquals(code, 0, stderr);
  return project;
}

/** The stages that a stage reads: an adapter is made of all others. */
function inputsOf<T extends string>(name: T, names: readonly T[]): T[] {
  return name === "train" ? names.filter((it) => it !== name) : [];
}

/** A task that copies a folder. */
function copyTask(
  name: keyof typeof FILES,
  inputs: readonly (keyof typeof FILES)[],
): string {
  const { kind, file } = FILES[name];
  const kinds = inputs.map((it) => `${it}: { kind: "${FILES[it].kind}" }`);
  return `
import * as z from "zod";
export default {
  description: "Copies a folder",
  params: z.strictObject({ from: z.string() }),
  inputs: { ${kinds.join(", ")} },
  output: { kind: "${kind}", files: ["${file}"] },
  permissions: { read: () => ["/"] },
  run({ params: { from }, output }) {
    for (const { name } of Deno.readDirSync(from)) {
      Deno.copyFileSync(from + "/" + name, output + "/" + name);
    }
  },
};`;
}
