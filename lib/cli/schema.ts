import { join, resolve } from "node:path";
import type { Task } from "../pipeline/task.ts";
import { type Command, EXIT } from "./arguments.ts";
import { HELP, PROJECT } from "./options.ts";
import { writeOut } from "./renderer.ts";

/** `deno task schema`: prints the JSON Schema of pipeline files. */
export const schemaCommand: Command = {
  name: "schema",
  usage: "",
  description:
    `Print the JSON Schema of pipeline files, with the parameters of every task, so that an editor completes and checks them. Write it to a file, and name that in the first line of a pipeline: # yaml-language-server: $schema=FILE`,
  options: [
    {
      name: "tasks",
      value: "DIR",
      description: "Folder of the task modules (default tasks)",
    },
    HELP,
  ],
  examples: [["> out/pipeline.schema.json", "Write the schema to a file"]],
  takes: { least: 0, most: 0 },
  async run(given) {
    const [{ pipelineJsonSchema }, { TaskFolder }] = await Promise.all([
      import("../pipeline/json_schema.ts"),
      import("../pipeline/task_folder.ts"),
    ]);
    const folder = new TaskFolder(
      resolve(given.value("tasks") ?? join(PROJECT, "tasks")),
    );
    const tasks = new Map<string, Task>();
    for (const name of folder.names()) {
      const found = await folder.find(name);
      if ("problem" in found) throw new Error(found.problem);
      tasks.set(name, found.task);
    }
    const schema = pipelineJsonSchema(tasks);
    writeOut(
      `${
        JSON.stringify(
          {
            $schema: "https://json-schema.org/draft/2020-12/schema",
            ...schema,
          },
          null,
          2,
        )
      }\n`,
    );
    return EXIT.fine;
  },
};
