import type { Task } from "../../pipeline/task.ts";
import { type Arguments, type Command, EXIT } from "../arguments/arguments.ts";
import { HELP, TASKS, tasksOf } from "../arguments/options.ts";
import { writeOut } from "../terminal/renderer.ts";

/** `deno task schema`: prints the JSON Schema of pipeline files. */
export const schemaCommand: Command = {
  name: "schema",
  usage: "",
  description:
    `Print the JSON Schema of pipeline files, including the parameters of every task, for completion and validation in editors. Save it to a file, and name that file in the first line of a pipeline: # yaml-language-server: $schema=FILE`,
  options: [TASKS, HELP],
  examples: [["> out/pipeline.schema.json", "Write the schema to a file"]],
  positionals: { min: 0, max: 0 },
  run: printSchema,
};

async function printSchema(args: Arguments): Promise<number> {
  const [{ pipelineJsonSchema }, { TaskFolder }] = await Promise.all([
    import("../../pipeline/json_schema.ts"),
    import("../../pipeline/load_task.ts"),
  ]);
  const folder = new TaskFolder(tasksOf(args));
  const tasks = new Map<string, Task>();
  for (const name of folder.names()) {
    const found = await folder.find(name);
    if ("problem" in found) throw new Error(found.problem);
    tasks.set(name, found.task);
  }
  const schema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...pipelineJsonSchema(tasks),
  };
  writeOut(`${JSON.stringify(schema, null, 2)}\n`);
  return EXIT.success;
}
