import type { Task } from "../../pipeline/task.ts";
import { command } from "../arguments/arguments.ts";
import { TASKS, tasksOf } from "../arguments/options.ts";
import { writeOut } from "../terminal/renderer.ts";

export const schemaCommand = command`
  schema

  Print the JSON Schema of pipeline files, including the parameters of every task, for completion and validation in editors. Save it to a file, and name that file in the first line of a pipeline: # yaml-language-server: $schema=FILE

  Options:
  ${TASKS}

  Examples:
  > out/pipeline.schema.json  Write the schema to a file
`(async (args) => writeOut(await schemaText(tasksOf(args))));

/** The JSON Schema of pipelines whose tasks are in a folder. */
export async function schemaText(folderOfTasks: string): Promise<string> {
  const [{ pipelineJsonSchema }, { TaskFolder }] = await Promise.all([
    import("../../pipeline/json_schema.ts"),
    import("../../pipeline/load_task.ts"),
  ]);
  const folder = new TaskFolder(folderOfTasks);
  const tasks = new Map<string, Task>();
  for (const name of folder.names()) {
    const loaded = await folder.find(name);
    if ("problem" in loaded) throw new Error(loaded.problem);
    tasks.set(name, loaded.task);
  }
  const schema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...pipelineJsonSchema(tasks),
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}
