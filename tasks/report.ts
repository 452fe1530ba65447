import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Compare methods: scores by rank, costs and the recommended rank",
  params: z.strictObject({
    replicates: z.int().min(100).max(100_000).default(1000).describe(
      "Bootstrap replicates for intervals and recommendation",
    ),
    confidence: z.number().gt(0).lt(1).default(0.95).describe(
      "Confidence level of intervals and recommendation",
    ),
    margin: z.number().min(0).default(0.01).describe(
      "Non-inferiority margin: how far the recommended rank may score below the best one; 0.01 is one point",
    ),
  }),
  inputs: {
    scores: { kind: "scores", many: true },
    adapters: { kind: "adapter", many: true, optional: true },
    classifiers: { kind: "classifier", many: true, optional: true },
    /** Texts of the mistakes that the report lists, and faults of the data. */
    data: { kind: "dataset", many: true, optional: true },
    /** Numbers of truncated texts. */
    tokenized: { kind: "tokens", many: true, optional: true },
  },
  output: {
    kind: "report",
    files: ["report.md", "report.html", "report.json"],
  },
  timings: true,
  small: true,
  run: async (stage) => (await import("../lib/stages/report.ts")).report(stage),
});
