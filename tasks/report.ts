import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Compares any number of methods: scores by rank, costs, the rank to take",
  params: z.strictObject({
    replicates: z.int().min(100).max(100_000).default(1000).describe(
      "Replicates of the bootstrap behind intervals and recommendation",
    ),
    confidence: z.number().gt(0).lt(1).default(0.95).describe(
      "Confidence of the intervals and of the recommendation",
    ),
    margin: z.number().min(0).default(0.01).describe(
      "How much a recommended rank may score below the best one: 0.01 is one point",
    ),
  }),
  inputs: {
    scores: { kind: "scores", many: true },
    adapters: { kind: "adapter", many: true, optional: true },
    classifiers: { kind: "classifier", many: true, optional: true },
    /** Ranks that choose-ranks chose by module. */
    ranks: { kind: "ranks", many: true, optional: true },
  },
  output: {
    kind: "report",
    files: ["report.md", "report.html", "report.json"],
  },
  timings: true,
  async run({ inputs, params, output }) {
    const { makeReport } = await import("./report/make_report.ts");
    const { readChoices } = await import("./report/choices.ts");
    const { readResults } = await import("./report/results.ts");
    await makeReport(
      output,
      await readResults(
        inputs.scores!,
        inputs.adapters ?? [],
        inputs.classifiers ?? [],
      ),
      await readChoices(inputs.ranks ?? []),
      params,
    );
  },
});
