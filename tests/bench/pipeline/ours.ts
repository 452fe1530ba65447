import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parentOf, stagesOf } from "./shape.ts";
import { append, type Tool } from "./tool.ts";

/**
 * This project's own command line, with a task module for stage 0 and one for
 * the rest.
 */
export const ours = checkout(
  fileURLToPath(new URL("../../..", import.meta.url)),
);

/** The command line of a checkout of this project. */
export function checkout(root: string): Tool {
  return {
    name: "ours",
    command: [
      Deno.execPath(),
      "run",
      "-A",
      "--unstable-lazy-dynamic-imports",
      "--config",
      join(root, "deno.json"),
      join(root, "lib/cli/main.ts"),
      "pipeline",
      "bench.yaml",
      "--tasks",
      "tasks",
      "--out",
      "out",
      "--json",
    ],
    comment: (folder, round) =>
      append(folder, "tasks/first.ts", `// ${round}\n`),
    edit: (folder, round) =>
      append(folder, "tasks/first.ts", `globalThis.name = "${round}";\n`),
    clean: (folder) =>
      Deno.removeSync(join(folder, "out/bench"), { recursive: true }),
    ran(_folder, output) {
      const last = output.trim().split("\n").at(-1)!;
      return (JSON.parse(last) as { ran: number }).ran;
    },
    prepare(folder, count) {
      Deno.mkdirSync(join(folder, "tasks"));
      Deno.writeTextFileSync(join(folder, "input.txt"), "input\n");
      Deno.writeTextFileSync(join(folder, "tasks/first.ts"), FIRST);
      Deno.writeTextFileSync(join(folder, "tasks/next.ts"), NEXT);
      const stages = stagesOf(count).map((stage) => {
        const parent = parentOf(stage);
        return parent === undefined
          ? `  s0: { task: first, with: { file: ${
            join(folder, "input.txt")
          } } }\n`
          : `  s${stage}: { task: next, with: { n: ${stage} }, inputs: { from: s${parent} } }\n`;
      });
      Deno.writeTextFileSync(
        join(folder, "bench.yaml"),
        `name: bench\nstages:\n${stages.join("")}`,
      );
    },
  };
}

const FIRST = `import * as z from "zod";
export default {
  description: "Reads a file",
  params: z.strictObject({ file: z.string() }),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  sources: (params) => ({ file: params.file }),
  run(stage) {
    const text = Deno.readTextFileSync(stage.params.file);
    Deno.writeTextFileSync(stage.output + "/out.txt", text + "0\\n");
  },
};
`;

const NEXT = `import * as z from "zod";
export default {
  description: "Adds a line",
  params: z.strictObject({ n: z.number() }),
  inputs: { from: { kind: "text" } },
  output: { kind: "text", files: ["out.txt"] },
  run(stage) {
    const text = Deno.readTextFileSync(stage.inputs.from[0].path + "/out.txt");
    Deno.writeTextFileSync(stage.output + "/out.txt", text + stage.params.n + "\\n");
  },
};
`;
