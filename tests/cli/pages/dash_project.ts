import { CliProject } from "../project.ts";

/**
 * Tasks as trainings, evaluations and reports are; the training goes on while
 * there is no file "go".
 */
const TASKS = {
  "train.ts": `
import * as z from "zod";
export default {
  description: "Trains",
  params: z.strictObject({ seed: z.int(), go: z.string() }),
  inputs: {},
  output: { kind: "adapter", files: ["weights"] },
  permissions: { read: () => ["/"] },
  async run({ params, output, metric, log, progress }) {
    for (let step = 10; step <= 40; step += 10) {
      log("step " + step);
      metric("loss", 1 / step, step);
      progress(step, 80, "steps", "loss " + 1 / step);
    }
    while (true) {
      try {
        Deno.statSync(params.go);
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    metric("loss", 0.0125, 80);
    Deno.writeTextFileSync(output + "/weights", String(params.seed));
  },
};`,
  "evaluate.ts": `
import * as z from "zod";
export default {
  description: "Scores",
  params: z.strictObject({}),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "scores", files: ["scores.json"] },
  run({ inputs, output }) {
    const seed = Number(Deno.readTextFileSync(inputs.adapter[0].path + "/weights"));
    const ranks = [1, 2].map((rank) => ({ rank, metrics: { accuracy: rank / 4 + seed / 10 } }));
    Deno.writeTextFileSync(output + "/scores.json", JSON.stringify({ task: "own", ranks }));
  },
};`,
  "report.ts": `
import * as z from "zod";
export default {
  description: "Reports",
  params: z.strictObject({}),
  inputs: { scores: { kind: "scores", many: true } },
  output: { kind: "report", files: ["report.html"] },
  run({ output }) {
    Deno.writeTextFileSync(output + "/report.html", "<title>R</title><p id=told>The end</p>");
  },
};`,
};

const PIPELINE = `name: test
stages:
  train: { task: train, matrix: { seed: [0, 1] }, with: { seed: "\${matrix.seed}", go: GO } }
  evaluate: { task: evaluate, matrix: { seed: [0, 1] }, inputs: { adapter: "train[seed]" } }
  report: { task: report, inputs: { scores: "evaluate[*]" } }
`;

/** A project with a pipeline of two trainings whose runs a page can follow. */
export function dashProject(): CliProject {
  const project = new CliProject(PIPELINE);
  for (const [name, text] of Object.entries(TASKS)) {
    project.write(`tasks/${name}`, text);
  }
  return project;
}
