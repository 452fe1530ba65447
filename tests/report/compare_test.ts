import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { problemOf } from "../../lib/problems/registry.ts";
import { compare } from "../../lib/report/compare.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import { methodTitle } from "../../lib/report/methods.ts";
import { EXAMPLES, OPTIONS, REGRESSION, resultOf } from "./results.ts";

Deno.test("compare() averages what all tasks have, MNLI by its matched set", () => {
  const report = compare([
    resultOf("mrpc", "dylora", { 1: 20, 2: 10 }),
    resultOf("mrpc", "lora", { 1: 8, 4: 4 }),
    resultOf("mrpc", "full", { 0: 4 }),
    resultOf("mnli", "dylora", { 1: 0, 2: 2, 4: 2 }, {
      split: "validation_matched",
    }),
    resultOf("mnli", "lora", { 1: 4, 2: 4 }, { split: "validation_matched" }),
    resultOf("mnli", "dylora", { 1: 40, 2: 40 }, {
      split: "validation_mismatched",
    }),
  ], OPTIONS);
  assertEquals(report.comparisons.length, 3);
  const [average, ...others] = report.averages;
  assertEquals(others.length, 0);
  assertEquals(average!.split, "validation");
  assertEquals(average!.tasks.map(({ task }) => task), ["mrpc", "mnli"]);
  assertEquals(
    average!.methods.map(({ method, ranks }) => [
      method,
      ranks.map(({ rank, metrics }) => [
        rank,
        Number(metrics["mean score"]!.mean!.toFixed(6)),
      ]),
    ]),
    [
      ["dylora", [[1, 0.75], [2, 0.85]]],
      ["lora", [[1, 0.85]]],
    ],
  );
  // The mean with a task without errors has half the deviation of the other
  // task alone.
  const [low, high] = average!.methods[0]!.ranks[0]!.interval!;
  const half = 1.96 * Math.sqrt(0.25 / EXAMPLES) / 2;
  assert(Math.abs(low - (0.75 - half)) < 0.02, `${low}`);
  assert(Math.abs(high - (0.75 + half)) < 0.02, `${high}`);
  const [contrast] = average!.contrasts;
  const [at1] = contrast!.ranks;
  assertEquals([contrast!.candidate, contrast!.baseline, at1!.rank], [0, 1, 1]);
  assert(Math.abs(at1!.difference! - (0.75 - 0.85)) < 1e-9);
  // By example, MRPC differs in 12 of 40 and MNLI in 4 of 40, each way.
  const variance = [12, 4].reduce((sum, differing) => {
    const share = differing / EXAMPLES;
    return sum + share * (1 - share) / EXAMPLES;
  }, 0);
  const [under, over] = at1!.interval!;
  const around = 1.96 * Math.sqrt(variance) / 2;
  assert(Math.abs(under - (-0.1 - around)) < 0.02, `${under}`);
  assert(Math.abs(over - (-0.1 + around)) < 0.02, `${over}`);
});

Deno.test("compare() sets what trains every rank against a LoRA reduced by SVD too, in each task and in the mean", () => {
  const { comparisons: [comparison], averages: [average] } = compare(
    ["mrpc", "rte"].flatMap((task) => [
      resultOf(task, "lora-svd", { 1: 12, 2: 4 }),
      resultOf(task, "dylora", { 1: 8, 2: 4 }, { variant: { sortAt: 0.6 } }),
      resultOf(task, "lora-truncated", { 1: 16, 2: 4 }),
      resultOf(task, "lora", { 2: 2 }),
    ]),
    OPTIONS,
  );
  for (const { methods, contrasts } of [comparison!, average!]) {
    assertEquals(
      contrasts.map(({ candidate, baseline, ranks }) => [
        methods[candidate]!.method,
        methods[baseline]!.method,
        ...ranks.map(({ rank, difference }) =>
          `${rank}: ${difference!.toFixed(3)}`
        ),
      ]),
      [
        ["lora-svd", "lora", "2: -0.050"],
        ["dylora", "lora", "2: -0.050"],
        ["lora-truncated", "lora", "2: -0.050"],
        ["dylora", "lora-svd", "1: 0.100", "2: 0.000"],
      ],
    );
  }
  const { areas, speedUp, recommended } = comparison!.contrasts[3]!;
  assertEquals(areas!.linear.difference!.toFixed(3), "0.050");
  // Costs and recommended ranks are compared with those of a sweep alone.
  assertEquals([speedUp, recommended], [null, null]);
  // Of 40 examples, the four that differ at rank 1 make the interval.
  const [low, high] = comparison!.contrasts[3]!.ranks[0]!.interval!;
  const around = 1.96 * Math.sqrt(0.1 * 0.9 / EXAMPLES);
  assert(Math.abs(low - (0.1 - around)) < 0.03, `${low}`);
  assert(Math.abs(high - (0.1 + around)) < 0.03, `${high}`);
});

Deno.test("compare() sets what was trained on from an imported LoRA against its SVD, but not the LoRA itself", () => {
  const { comparisons: [comparison] } = compare([
    resultOf("own", "imported-lora", { 4: 4 }),
    resultOf("own", "imported-lora-svd", { 1: 8, 4: 4 }),
    resultOf("own", "dylora", { 1: 6, 4: 4 }),
  ], OPTIONS);
  const { methods, contrasts } = comparison!;
  assertEquals(
    contrasts.map(({ candidate, baseline }) => [
      methods[candidate]!.method,
      methods[baseline]!.method,
    ]),
    [["dylora", "imported-lora-svd"]],
  );
});

Deno.test("compare() averages nothing where no method is common to all tasks", () => {
  const { averages } = compare([
    resultOf("mrpc", "dylora", { 1: 1 }),
    resultOf("rte", "lora", { 1: 1 }),
  ], OPTIONS);
  assertEquals(averages, []);
});

Deno.test("compare() averages nothing over one task", () => {
  const { averages } = compare(
    [resultOf("mrpc", "dylora", { 1: 1 })],
    OPTIONS,
  );
  assertEquals(averages, []);
});

Deno.test("compare() sets the recommended rank against that of a sweep", () => {
  // Within one example of 40 lies no margin of a point: the best rank is
  // recommended.
  const { comparisons: [comparison] } = compare([
    resultOf("mrpc", "dylora", { 1: 20, 2: 4, 4: 8 }),
    resultOf("mrpc", "lora", { 1: 16, 4: 2, 8: 0 }),
    resultOf("mrpc", "dylora", { 1: 20, 2: 8, 4: 6 }, { seed: 1 }),
    resultOf("mrpc", "lora", { 1: 16, 4: 6, 8: 0 }, { seed: 1 }),
    resultOf("mrpc", "head", { 0: 20 }, { seed: 2 }),
  ], { ...OPTIONS, confidence: 0.5 });
  const [contrast] = comparison!.contrasts;
  const { candidate, baseline, difference, interval } = contrast!.recommended!;
  // Rank 8 of LoRA is beyond what DyLoRA serves.
  assertEquals([candidate, baseline, Number(difference.toFixed(6))], [
    2,
    4,
    -0.05,
  ]);
  const [low, high] = interval!;
  assert(low < -0.05 && high > -0.05 && high <= 0, `${low} ${high}`);
});

Deno.test("compare() recommends no rank against a baseline with one rank", () => {
  const { comparisons: [comparison] } = compare([
    resultOf("mrpc", "dylora", { 1: 20, 2: 4, 4: 8 }),
    resultOf("mrpc", "lora", { 4: 2, 8: 0 }),
  ], OPTIONS);
  assertEquals(comparison!.contrasts[0]!.recommended, null);
});

Deno.test("compare() sets no rank against that of a sweep if a seed has an undefined score", () => {
  const of = (method: string, seed: number, collapsed?: number) => {
    const result = resultOf("stsb", method, { 1: 16, 4: 8 }, {
      metrics: ["pearson"],
      problem: REGRESSION,
      seed,
    });
    const ranks = result.ranks.map((it) =>
      it.rank === collapsed
        ? {
          ...it,
          metrics: { pearson: NaN },
          predictions: Array(EXAMPLES).fill(1),
        }
        : it
    );
    return { ...result, ranks };
  };
  const recommended = (collapsed?: number) =>
    compare([
      ...[0, 1].map((seed) => of("lora", seed)),
      of("dylora", 0),
      of("dylora", 1, collapsed),
    ], OPTIONS).comparisons[0]!.contrasts[0]!.recommended;
  assertEquals(recommended()?.candidate, 4);
  assertEquals(recommended(1), null);
});

Deno.test("compare() refuses two results of a method for the same rank and seed", () => {
  const result = resultOf("mrpc", "dylora", { 1: 1, 2: 1 });
  assertThrows(
    () => compare([result, result], OPTIONS),
    Error,
    'Rank 1 of "dylora" on "mrpc" is evaluated twice for one seed (0, 0)',
  );
});

Deno.test("compare() refuses results with different metrics", () => {
  assertThrows(
    () =>
      compare([
        resultOf("mrpc", "dylora", { 1: 1 }, { metrics: ["accuracy", "f1"] }),
        resultOf("mrpc", "lora", { 1: 1 }),
      ], OPTIONS),
    Error,
    'have the metrics "accuracy", others have "accuracy, f1"',
  );
});

Deno.test("compare() sets fitted heads against the trained head, of LoRA at each rank too, and says what a head for each rank brings", () => {
  const { comparisons: [comparison] } = compare([
    resultOf("mrpc", "lora-svd-heads", { 1: 4, 2: 4 }),
    resultOf("mrpc", "lora-svd", { 1: 12, 2: 4 }),
    resultOf("mrpc", "lora", { 1: 6, 2: 4 }),
    resultOf("mrpc", "lora-heads", { 1: 5, 2: 4 }),
  ], OPTIONS);
  const { methods, contrasts, verdict } = comparison!;
  assertEquals(methods.map(({ role }) => role), [
    "candidate",
    "candidate",
    "baseline",
    "baseline",
  ]);
  assertEquals(methodTitle(methods[3]!), "LoRA with a fitted head");
  const nameOf = (place: number) => methods[place]!.method;
  assertEquals(
    contrasts.map(({ candidate, baseline }) =>
      `${nameOf(candidate)} - ${nameOf(baseline)}`
    ),
    [
      "lora-svd-heads - lora",
      "lora-svd-heads - lora-heads",
      "lora-svd - lora",
      "lora-svd - lora-heads",
      "lora-svd-heads - lora-svd",
      "lora-heads - lora",
    ],
  );
  // What a LoRA of each rank recommends is what others are held against, not
  // itself.
  assertEquals(contrasts.map(({ recommended }) => recommended !== null), [
    ...[true, true, true, true],
    ...[false, false],
  ]);
  const heads = verdict!.reasons.at(-1)!;
  assert(
    /^A head for each rank brings \+20\.0 \[\+\d.*\] at rank 1\.$/.test(heads),
    heads,
  );
});

Deno.test("compare() takes a lower loss for a better one, and shows losses and their differences as they are", () => {
  const starts = Int32Array.from({ length: EXAMPLES + 1 }, (_, i) => i);
  const problem = problemOf({ problem: "language", labels: null }, starts);
  const labels = new Float32Array(EXAMPLES).fill(7);
  const result = (method: string, losses: Readonly<Record<number, number>>) => {
    const given = resultOf("e2e", method, {});
    const ranks = Object.entries(losses).map(([rank, loss]) => ({
      rank: Number(rank),
      metrics: { loss, perplexity: Math.exp(loss) },
      // The mean of what is around the loss.
      predictions: Float32Array.from(labels, (_, i) => loss + (i % 2) - 0.5),
      probabilities: null,
    }));
    return { ...given, problem, labels, ranks };
  };
  const report = compare([
    result("dylora", { 1: 3, 2: 2, 4: 2.001 }),
    result("lora", { 1: 2.5, 4: 2 }),
  ], OPTIONS);
  const [comparison] = report.comparisons;
  const { verdict, methods, contrasts, majority } = comparison!;
  assertEquals(majority, null);
  const [rank1, rank2] = methods[0]!.ranks;
  const [low, high] = rank1!.interval!;
  assert(low < 3 && 3 < high && high < 3.3);
  assertEquals(rank2!.metrics.perplexity!.mean, Math.exp(2));
  assertEquals(methods[0]!.recommendation!.rank, 2);
  assertEquals(verdict!.recommended.rank, 2);
  assertEquals(verdict!.reference, null);
  assert(Math.abs(verdict!.recommended.score - 2) < 1e-6);
  const [at1] = contrasts[0]!.ranks;
  assertEquals([at1!.rank, at1!.difference], [1, 0.5]);
  assert(at1!.interval!.every((end) => Math.abs(end - 0.5) < 1e-6));
  const text = renderMarkdown(report);
  assertStringIncludes(
    text,
    "Use rank 2 of DyLoRA: the loss is 2.000 on the held-out rows",
  );
  assertStringIncludes(text, "| 1 | 3.000 [");
  assertStringIncludes(text, "| 1 | +0.500 [+0.500, +0.500] |");
  assertStringIncludes(text, "at most 0.01 above the best rank (2)");
  assert(!text.includes("multiplied by 100") && !text.includes("Mistakes"));
});
