import { assertEquals } from "@std/assert";
import { compare } from "../../lib/report/compare.ts";
import { formatOf } from "../../lib/report/format.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import type { Result } from "../../lib/report/result.ts";
import { seededDraw } from "../../lib/report/statistics.ts";
import { GoldenFile } from "../golden.ts";
import { OPTIONS, REGRESSION, resultOf, trainingOf } from "./results.ts";

/** Reports as Markdown. */
const golden = new GoldenFile(new URL("golden.md", import.meta.url));

Deno.test("renderMarkdown() gives the golden reports", () => {
  for (const [name, results] of Object.entries(REPORTS)) {
    golden.check(name, render(results));
  }
});

Deno.test("renderMarkdown() lists the faults of the data under the verdict", () => {
  const fault = "train: 1 of 9 rows with an empty text (line 3)";
  const report = compare([resultOf("rte", "dylora", { 1: 1 })], OPTIONS);
  const text = renderMarkdown({ ...report, faults: [fault] });
  const [, list] = /\*\*The data have faults:\*\*\n\n(- .*)\n\n## /.exec(text)!;
  assertEquals(list, `- ${fault}`);
});

function render(results: readonly Result[]): string {
  return renderMarkdown(
    compare(results, { ...OPTIONS, draw: seededDraw(0) }),
  );
}

const REPORTS: Readonly<Record<string, readonly Result[]>> = {
  "One method, one seed: no baseline, no speed-up": [
    resultOf("rte", "dylora", { 1: 12, 2: 8, 3: 8 }, {
      training: trainingOf(3, { scale: "alpha / b" }),
    }),
  ],
  "The head alone": [resultOf("rte", "head", { 0: 12 })],
  "Several tasks and seeds with bounds, a baseline and reductions": [0, 1]
    .flatMap((seed) => [
      ...(["mrpc", "mnli"] as const).flatMap((task) => {
        const others = {
          seed,
          metrics: task === "mrpc"
            ? ["accuracy", "f1"] as const
            : ["accuracy"] as const,
          split: task === "mrpc" ? "validation" : "validation_matched",
        };
        const reduced = {
          ...others,
          training: trainingOf(4),
          reductionSeconds: 0.5,
        };
        const full = trainingOf(0, { alpha: undefined, learningRate: 2e-5 });
        return [
          resultOf(task, "dylora", { 1: 12, 2: 10 + seed, 4: 6 }, {
            ...others,
            training: trainingOf(4, { scale: "alpha / b" }),
          }),
          ...[1, 4, 8].map((rank) =>
            resultOf(task, "lora", { [rank]: 9 - rank + 2 * seed }, {
              ...others,
              training: trainingOf(rank),
            })
          ),
          ...(task === "mrpc"
            ? [
              resultOf(task, "lora-svd", { 1: 11, 4: 5 }, reduced),
              resultOf(task, "lora-truncated", { 1: 20, 4: 5 }, reduced),
            ]
            : []),
          resultOf(task, "full", { 0: 4 + seed }, {
            ...others,
            training: full,
          }),
          ...(seed === 0
            ? [resultOf(task, "head", { 0: 16 }, { ...others, training: full })]
            : []),
        ];
      }),
      resultOf("mnli", "dylora", { 1: 12, 2: 10 }, {
        seed,
        split: "validation_mismatched",
      }),
    ]),
  "Best epochs of an ablation, chosen on other examples, with unequal seeds": [
    "all",
    "frozen",
  ].flatMap((mode) =>
    [0, 1].flatMap((seed) => {
      const others = {
        title: "my | *data*",
        epoch: "best" as const,
        seed,
        precision: mode === "all" ? "f32" : "bf16",
      };
      const selection = {
        split: "dev_2",
        epochs: [{ score: 0.5 }, { score: 0.75 + seed / 10 }],
        seconds: 3,
        flops: 5e9,
      };
      return [
        resultOf("own", "dylora", { 1: 12, 4: 6 }, {
          ...others,
          variant: { mode },
          training: trainingOf(4, {
            scale: mode === "all" ? "alpha / b" : "alpha / R",
            draws: `uniformly for each step${
              mode === "all" ? "" : `, mode ${mode}`
            }`,
          }, { selection, start: mode === "all" ? undefined : "mnli" }),
        }),
        ...(mode === "all"
          ? [
            resultOf("own", "lora", { 4: 5 }, {
              ...others,
              training: trainingOf(4, {}, { selection }),
            }),
          ]
          : seed === 0
          ? [resultOf("own", "imported-lora", { 4: 7 }, others)]
          : []),
      ];
    })
  ),
  "Best epoch, chosen on the reported examples; a metric that is undefined": [
    resultOf("stsb", "dylora", { 1: 20, 2: 10 }, {
      epoch: "best",
      metrics: ["pearson"],
      problem: REGRESSION,
      labels: new Float32Array(40).fill(1),
      training: trainingOf(2, {}, {
        selection: {
          split: "validation",
          epochs: [{ score: 0.5 }, { score: 0.625 }],
          seconds: 3,
          flops: 5e9,
        },
      }),
    }),
    resultOf("stsb", "lora", { 2: 10 }, {
      epoch: "best",
      metrics: ["pearson"],
      problem: REGRESSION,
      labels: new Float32Array(40).fill(1),
      seed: 1,
    }),
  ],
  "A regression with adapters that were not trained here": [
    resultOf("stsb", "imported-dylora", { 1: 4, 8: 1 }, {
      metrics: ["pearson"],
      problem: REGRESSION,
    }),
    resultOf("stsb", "matryoshka", { 8: 1 }, {
      metrics: ["pearson"],
      problem: REGRESSION,
      variant: { sampler: "geometric", of: "<b>" },
    }),
  ],
  "All tasks of GLUE": [
    "cola",
    "sst2",
    "mrpc",
    "stsb",
    "qqp",
    "mnli",
    "qnli",
    "rte",
  ]
    .flatMap((task, i) => resultOf(task, "dylora", { 1: i })),
};

Deno.test("signed() gives a difference that rounds to zero no sign", () => {
  const shown = [0.0004, -0.0004, 0, 0.0006, -0.0006, null].map(
    formatOf("accuracy").signed,
  );
  assertEquals(shown, ["0.0", "0.0", "0.0", "+0.1", "-0.1", "undefined"]);
});
