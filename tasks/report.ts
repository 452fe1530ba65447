import { z } from "zod";
import { defineTask, type InputArtifact } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Compares DyLoRA with LoRA: scores by rank, seconds, the rank to take",
  params: z.strictObject({
    /** Replicates of the bootstrap behind intervals and recommendation. */
    replicates: z.int().min(100).max(100_000).default(1000),
    /** Of the intervals and of the recommendation. */
    confidence: z.number().gt(0).lt(1).default(0.95),
    /** How much a recommended rank may score below the best one: 0.01 is one point. */
    margin: z.number().nonnegative().default(0.01),
  }),
  inputs: {
    dylora: { kind: "scores", many: true },
    dyloraAdapters: { kind: "adapter", many: true },
    lora: { kind: "scores", many: true, optional: true },
    loraAdapters: { kind: "adapter", many: true, optional: true },
  },
  output: {
    kind: "report",
    files: ["report.md", "report.html", "report.json"],
  },
  timings: true,
  async run({ inputs, params, output, log }) {
    const { makeReport } = await import("./report/make_report.ts");
    const { readResults } = await import("./report/results.ts");
    const given = (name: string): readonly InputArtifact[] =>
      inputs[name] ?? [];
    const results = [
      ...await readResults(
        "candidate",
        given("dylora"),
        given("dyloraAdapters"),
      ),
      ...await readResults("baseline", given("lora"), given("loraAdapters")),
    ];
    const markdown = await makeReport(output, results, params);
    for (const line of markdown.trimEnd().split("\n")) log(line);
  },
});
