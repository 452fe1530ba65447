import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
} from "@std/assert";
import { quantileNormal } from "vega-statistics";
import { problemOf } from "../../lib/problems/registry.ts";
import { textBaselines } from "../../lib/problems/writing.ts";
import { textStatistics } from "../../lib/problems/text_metrics.ts";
import { compare } from "../../lib/report/compare.ts";
import type { Result } from "../../lib/report/result.ts";
import {
  seededDraw,
  simultaneousIntervals,
} from "../../lib/report/statistics.ts";
import type { Verdict } from "../../lib/report/report.ts";
import { EXAMPLES, METRICS, OPTIONS, REGRESSION, resultOf } from "./results.ts";

function verdictOn(results: readonly Result[], margin = 0.01): Verdict {
  const { comparisons } = compare(results, {
    ...OPTIONS,
    draw: seededDraw(0),
    margin,
  });
  assertEquals(comparisons.length, 1);
  return comparisons[0]!.verdict!;
}

/** Number of examples whose errors are few enough to tell one point apart. */
const MANY = 2000;
const balanced = (examples: number) =>
  Float32Array.from({ length: examples }, (_, i) => i % 2);

Deno.test("compare() gives the verdict that nothing was learnt if no score is above always predicting the same class", () => {
  const results = [
    resultOf("rte", "dylora", { 1: 22, 2: 21 }),
    resultOf("rte", "lora", { 2: 23 }),
  ];
  const verdict = verdictOn(results);
  assertEquals(verdict.kind, "nothing-learnt");
  assertEquals(
    verdict.headline,
    "No rank is recommended: too few rows to tell whether anything was learnt.",
  );
  // Its remedy is more rows; where they suffice, another training.
  assertMatch(verdict.reasons.at(-2)!, /^More labelled rows/);
  const sure = verdictOn(results, 0.5);
  assertEquals(
    sure.headline,
    "No rank is recommended: the adapter is not better than always predicting the same class.",
  );
  assertMatch(sure.reasons.at(-1)!, /^Train on more rows, or longer: /);
  assertEquals(verdict.reference!.kind, "constant");
  assertEquals(verdict.reference!.referenceScore, 0.5);
  assertEquals([verdict.reference!.method, verdict.reference!.rank], [0, 2]);
  assertAlmostEquals(verdict.reference!.difference, -1 / EXAMPLES, 1e-12);
  assert(verdict.reasons[0]!.startsWith("The best score, accuracy 47.5 % ["));
});

Deno.test("compare() gives the verdict that nothing was learnt if no text has anything of people's", () => {
  const problem = problemOf({ problem: "writing", labels: null });
  const labels = new Float32Array(EXAMPLES);
  const writing = (texts: Readonly<Record<number, string>>) => ({
    ...resultOf("e2e", "dylora", {}),
    ...{ problem, labels },
    ranks: Object.entries(texts).map(([rank, text]) => {
      const references = ["a place to eat by the river"];
      const statistics = textStatistics(
        Array.from(labels, () => ({ text, references })),
      );
      const bleu = problem.scorer("bleu", labels)()(statistics);
      return {
        rank: Number(rank),
        metrics: { bleu },
        predictions: statistics,
        probabilities: null,
      };
    }),
  });
  const { headline, reasons } = verdictOn([writing({ 1: "no", 2: "none" })]);
  assertEquals(
    headline,
    "No rank is recommended: the adapter is not better than writing nothing.",
  );
  assertMatch(reasons[0]!, /is not above the 0\.0 % of writing nothing: /);
  const some = verdictOn([writing({ 1: "no", 2: "a place to eat by a lake" })]);
  assertMatch(
    some.headline,
    /^Use rank 2: the BLEU is [\d.]+ % on the held-out rows/,
  );
});

Deno.test("compare() says of texts that copy the prompt, or are the most frequent one, that nothing was learnt", () => {
  const problem = problemOf({ problem: "writing", labels: null });
  const prompts = Array.from({ length: EXAMPLES }, (_, i) => ({
    text: `name ${i} eat by the lake`,
    completions: [`the place ${i} to eat by the river`],
    index: i,
  }));
  const frequent = "a place to eat by the river";
  const labels = new Float32Array(EXAMPLES);
  const verdictOf = (
    textOf: (prompt: typeof prompts[number]) => string,
    training: readonly string[],
  ) => {
    const predictions = textStatistics(
      prompts.map((it) => ({ text: textOf(it), references: it.completions })),
    );
    const bleu = problem.scorer("bleu", labels)()(predictions);
    const baselines = textBaselines(
      prompts,
      training.map((text, index) => (
        { text: "", completions: [text], index }
      )),
    );
    const ranks = [
      { rank: 1, metrics: { bleu }, predictions, probabilities: null },
    ];
    const result = resultOf("e2e", "dylora", {});
    return verdictOn([{ ...result, problem, labels, ranks, baselines }]);
  };
  const once = [frequent, "another"];
  const often = [...once, frequent];
  assertEquals(
    verdictOf(({ text }) => text, once).headline,
    "No rank is recommended: the adapter is not better than copying the prompt.",
  );
  assertEquals(
    verdictOf(() => frequent, often).headline,
    "No rank is recommended: the adapter is not better than always writing the most frequent text.",
  );
  assertMatch(verdictOf(() => frequent, once).headline, /^Use rank 1: /);
  assertMatch(
    verdictOf(({ completions }) => completions[0]!, often).headline,
    /^Use rank 1: /,
  );
});

Deno.test("compare() does not claim that nothing was learnt if a score is higher, but by chance perhaps", () => {
  const verdict = verdictOn([resultOf("rte", "dylora", { 1: 17, 2: 16 })]);
  assertEquals(verdict.kind, "nothing-learnt");
  assertEquals(
    verdict.headline,
    "No rank is recommended: too few rows to tell whether anything was learnt.",
  );
  const [low, high] = verdict.reference!.differenceInterval;
  assert(low < 0 && high > 0.1, `${low} ${high}`);
});

Deno.test("compare() asks of F1 more than always predicting the better class, which need not be the most frequent one", () => {
  // Class 1 is a quarter; marking every example gives F1 2 / 5, never marking
  // gives 0.
  const labels = Float32Array.from({ length: 40 }, (_, i) => i % 4 ? 0 : 1);
  const predictions = labels.map((label, i) => i < 24 ? 1 - label : label);
  const result = {
    ...resultOf("own", "dylora", {}, { labels }),
    ranks: [{
      rank: 1,
      metrics: { f1: METRICS.f1(predictions, labels) },
      predictions,
      probabilities: null,
    }],
  };
  const { kind, reference } = verdictOn([result]);
  assertEquals(kind, "nothing-learnt");
  assertAlmostEquals(reference!.referenceScore, 0.4, 1e-12);
});

Deno.test("compare() gives the verdict that nothing was learnt beyond the head on the frozen encoder", () => {
  const labels = balanced(400);
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 82, 2: 81 }, { labels }),
    resultOf("rte", "head", { 0: 80 }, { labels }),
  ]);
  assertEquals(verdict.kind, "nothing-learnt");
  assertEquals(
    verdict.headline,
    "No rank is recommended: the adapter is not better than the head on the frozen encoder.",
  );
  assertEquals(verdict.reference!.kind, "head");
  assertEquals(verdict.reference!.referenceScore, 0.8);
  const unsure = verdictOn([
    resultOf("rte", "dylora", { 1: 78, 2: 79 }, { labels }),
    resultOf("rte", "head", { 0: 80 }, { labels }),
  ]);
  assertEquals(
    unsure.headline,
    "No rank is recommended: too few rows to tell whether anything was learnt beyond the head.",
  );
});

Deno.test("compare() says that one method learnt nothing, if another did, and what that one scores", () => {
  const labels = balanced(400);
  const unsure = verdictOn([
    resultOf("rte", "dylora", { 1: 190, 2: 195 }, { labels }),
    resultOf("rte", "lora", { 1: 170, 2: 169 }, { labels }),
  ], 0.1);
  assertEquals(unsure.kind, "nothing-learnt");
  assertEquals(
    unsure.headline,
    "No rank is recommended: DyLoRA is not better than always predicting the same class.",
  );
  const [first, second] = unsure.reasons;
  assert(
    first!.startsWith("The best score of DyLoRA, accuracy 52.5 % ["),
    first,
  );
  assert(second!.startsWith("LoRA at its best rank (2) has 57.8 % ["), second);
});

Deno.test("compare() does not claim that no rank is as good if another one is", () => {
  const labels = Float32Array.from({ length: 40 }, (_, i) => i / 8);
  const predictions = labels.map((label, i) => label + (i % 3) / 4);
  const metrics = { pearson: METRICS.pearson(predictions, labels) };
  const verdict = verdictOn([{
    ...resultOf("stsb", "dylora", {}, { labels }),
    problem: REGRESSION,
    ranks: [1, 2].map((rank) => ({
      rank,
      metrics,
      predictions,
      probabilities: null,
    })),
  }]);
  assertEquals(verdict.kind, "recommended");
  assert(
    verdict.reasons[1]!.startsWith("No other rank is better (95 %"),
    verdict.reasons[1],
  );
});

Deno.test("compare() finds what is certainly better beside a rank with a larger mean and one collapsed seed", () => {
  const labels = balanced(MANY);
  const bySeed = (method: string, ...errors: Record<number, number>[]) =>
    errors.map((of, seed) => resultOf("rte", method, of, { labels, seed }));
  const half = MANY / 2;
  const ours = bySeed(
    "dylora",
    { 4: 0.6 * half, 8: 0.2 * half },
    { 4: 0.6 * half, 8: 0.98 * half },
  );
  const learnt = verdictOn(ours);
  assertEquals(learnt.reference!.rank, 4);
  assert(learnt.kind !== "nothing-learnt", learnt.headline);
  const one = bySeed("dylora", { 4: 0.6 * half }, { 4: 0.6 * half });
  const lora = bySeed("lora", { 4: 0.4 * half }, { 4: 0.4 * half });
  const matryoshka = bySeed("matryoshka", { 4: 0 }, { 4: 0.78 * half });
  const better = verdictOn([...one, ...lora, ...matryoshka]);
  assertEquals(better.kind, "other-better");
  assert(better.headline.startsWith("LoRA is better"), better.headline);
});

Deno.test("compare() gives the verdict that another method is better, with the difference of the best ranks", () => {
  const labels = balanced(MANY);
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 350, 2: 300 }, { labels }),
    resultOf("rte", "lora", { 1: 345 }, { labels }),
    resultOf("rte", "lora", { 4: 200 }, { labels }),
  ]);
  assertEquals(verdict.kind, "other-better");
  assertEquals([verdict.other!.method, verdict.other!.rank], [1, 4]);
  assertEquals([verdict.best.method, verdict.best.rank], [0, 2]);
  assertAlmostEquals(verdict.other!.difference, 100 / MANY, 1e-12);
  const [low, high] = verdict.other!.differenceInterval;
  assert(low > 0.03 && high < 0.07, `${low} ${high}`);
  assert(
    verdict.headline ===
      "LoRA is better here: at rank 4 1800 of 2000 held-out rows are right, with DyLoRA at most 1700.",
    verdict.headline,
  );
  assertMatch(
    verdict.reasons[0]!,
    /The difference is \+5\.0 \[\+.*\] points\.$/,
  );
});

Deno.test("compare() does not call another method better within the margin", () => {
  const labels = balanced(MANY);
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 300, 2: 300 }, { labels }),
    resultOf("rte", "lora", { 1: 250 }, { labels }),
  ], 0.03);
  assert(verdict.other!.differenceInterval[0] > 0);
  assertEquals(verdict.kind, "recommended");
});

Deno.test("compare() gives the verdict that examples are too few, also if all ranks agree on each of them", () => {
  const labels = balanced(20);
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 2, 2: 2, 4: 2 }, { labels }),
  ]);
  assertEquals(verdict.kind, "too-few-examples");
  assertEquals(verdict.recommended.rank, 1);
  // Bonett and Price with no disagreement: z sqrt(2) / (n + 2), here of one
  // side.
  assertAlmostEquals(verdict.bound!, 1.6448536 * Math.SQRT2 / 22, 1e-6);
  assertEquals(
    verdict.headline,
    "Use rank 1: 18 of 20 held-out rows are right; other ranks cannot be told apart with so few rows.",
  );
  assertMatch(
    verdict.reasons[1]!,
    /^On 20 examples, another rank may be better by up to 10\.6 points/,
  );
  assertMatch(verdict.reasons.at(-1)!, /holdout=0\.3 holds out more/);
  // Rounded to one digit, the bound would be the margin.
  const close = verdictOn([
    resultOf("rte", "dylora", { 1: 2, 2: 2, 4: 2 }, { labels }),
  ], 0.1056);
  assertMatch(
    close.reasons[1]!,
    /better by up to 10\.57 points .*, more than the margin of 10\.56 points/,
  );
});

Deno.test("compare() gives the verdict that examples are too few to tell whether another method is better", () => {
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 12, 4: 5 }),
    resultOf("rte", "lora", { 8: 3 }),
  ]);
  assertEquals(verdict.kind, "too-few-examples");
  assert(verdict.bound! <= 0);
  assert(verdict.other!.differenceInterval[0] < 0);
  assertEquals(
    verdict.headline,
    "Use rank 4 of DyLoRA: 35 of 40 held-out rows are right; whether LoRA is better cannot be told with so few rows.",
  );
  assertMatch(
    verdict.reasons[0]!,
    /^Accuracy of DyLoRA at rank 4: 87\.5 %, 95 % interval \[/,
  );
});

Deno.test("compare() says of a rank that scores everything on few examples that they cannot tell others apart", () => {
  const { kind, headline, recommended, reasons } = verdictOn([
    resultOf("rte", "dylora", { 1: 0, 2: 0 }, { labels: balanced(147) }),
  ]);
  assertEquals(kind, "too-few-examples");
  assertEquals(
    headline,
    "Use rank 1: 147 of 147 held-out rows are right; other ranks cannot be told apart with so few rows.",
  );
  // Wilson's interval: n / (n + z^2).
  const [low, high] = recommended.interval!;
  assertAlmostEquals(low, 147 / (147 + 1.959963984540054 ** 2), 1e-9);
  assertEquals(high, 1);
  assertEquals(
    reasons[0],
    "Accuracy of DyLoRA at rank 1: 100.0 %, 95 % interval [97.5, 100.0].",
  );
});

Deno.test("compare() recommends a rank if enough examples show that no other is better by more than the margin", () => {
  const labels = balanced(MANY);
  const verdict = verdictOn([
    resultOf("rte", "dylora", { 1: 350, 2: 201, 4: 200 }, { labels }),
  ]);
  assertEquals(verdict.kind, "recommended");
  assertEquals(verdict.recommended.rank, 2);
  assertEquals(verdict.best.rank, 4);
  assert(verdict.bound! > 0 && verdict.bound! < 0.004, `${verdict.bound}`);
  assertMatch(
    verdict.headline,
    /^Use rank 2: 1799 of 2000 held-out rows are right; no other rank is better by an amount that matters\.$/,
  );
  assertMatch(verdict.reasons[1]!, /^No other rank is better by more than /);
});

Deno.test("a verdict names the method with one seed where others have several", () => {
  const trained = [0, 1].map((seed) =>
    resultOf("rte", "dylora", { 1: 8, 2: 4 }, { seed })
  );
  const imported = resultOf("rte", "imported-lora", { 2: 6 });
  const warning = (results: readonly Result[]) =>
    /There is only one seed[^:]*/.exec(verdictOn(results).reasons.join(" "))
      ?.[0];
  assertEquals(
    warning([...trained, imported]),
    "There is only one seed of Imported LoRA",
  );
  assertEquals(warning([trained[0]!, imported]), "There is only one seed");
  assertEquals(warning(trained), undefined);
});

Deno.test("compare() gives no verdict without a defined score or an adapter", () => {
  const labels = new Float32Array(40).fill(1);
  const { comparisons } = compare([
    resultOf("stsb", "dylora", { 1: 4 }, {
      metrics: ["pearson"],
      problem: REGRESSION,
      labels,
    }),
  ], OPTIONS);
  assertEquals(comparisons[0]!.verdict, null);
  const bounds = compare([resultOf("rte", "full", { 0: 1 })], OPTIONS);
  assertEquals(bounds.comparisons[0]!.verdict, null);
});

Deno.test("compare() takes the correlation of always predicting the same number as 0", () => {
  const labels = Float32Array.from({ length: 40 }, (_, i) => i);
  const of = (predictions: Float32Array) =>
    verdictOn([{
      ...resultOf("stsb", "dylora", {}, { problem: REGRESSION, labels }),
      ranks: [{
        rank: 1,
        metrics: { pearson: METRICS.pearson(predictions, labels) },
        predictions,
        probabilities: null,
      }],
    }]);
  const learnt = of(labels.map((x) => x + (x % 2)));
  assertEquals(learnt.kind, "recommended");
  assertMatch(learnt.headline, /^Use rank 1: the Pearson correlation is \d/);
  const noise = of(labels.map((x) => x % 2));
  assertEquals(noise.kind, "nothing-learnt");
  assertEquals(noise.reference!.referenceScore, 0);
});

Deno.test("a verdict's interval of a difference is that of Bonett and Price (2012)", () => {
  // DyLoRA alone is wrong on 8 of 40 examples, LoRA alone on none.
  const { other } = verdictOn([
    resultOf("rte", "dylora", { 1: 12 }),
    resultOf("rte", "lora", { 1: 4 }),
  ]);
  const [better, worse] = [9, 1].map((count) => count / (EXAMPLES + 2));
  const half = 1.959964 *
    Math.sqrt(
      (better! + worse! - (better! - worse!) ** 2) / (EXAMPLES + 2),
    );
  const [low, high] = other!.differenceInterval;
  // 400 replicates give the standard error to 4 %; the centre is not shrunk
  // here.
  assertAlmostEquals((high - low) / 2, half, 0.08 * half);
  assertAlmostEquals((high + low) / 2, 0.2, 1e-12);
});

Deno.test("a verdict's interval has all of the variance between seeds", () => {
  const labels = balanced(MANY);
  const seeds = [0, 1, 2, 3, 4, 5];
  const { other } = verdictOn(
    seeds.flatMap((seed) => [
      resultOf("rte", "dylora", { 1: 200 + 50 * seed }, { labels, seed }),
      resultOf("rte", "lora", { 1: 100 }, { labels, seed }),
    ]),
  );
  // The differences are 0.05, 0.075, ..., 0.175, their mean is 0.1125.
  const betweenSeeds = 0.025 ** 2 * 3.5 / seeds.length;
  const betweenExamples = 0.1125 * (1 - 0.1125) / MANY;
  const half = 1.959964 * Math.sqrt(betweenSeeds + betweenExamples);
  const [low, high] = other!.differenceInterval;
  assertAlmostEquals((high - low) / 2, half, 0.08 * half);
});

Deno.test("simultaneousIntervals() widen with the number of independent differences as by Šidák (1967), and not for equal ones", () => {
  const replicates = 4000;
  const draw = seededDraw(1);
  const normal = () =>
    Float64Array.from(
      draw(replicates),
      (position) => quantileNormal((position + 0.5) / replicates),
    );
  const halves = (samples: readonly Float64Array[], sides: 1 | 2) =>
    simultaneousIntervals(
      samples.map((replicates) => ({ value: 0, replicates, added: 0 })),
      0.95,
      sides,
    ).map(([low, high]) => (high - low) / 2);
  const one = normal();
  const several = Array.from({ length: 8 }, normal);
  for (const half of halves(several, 2)) {
    assertAlmostEquals(half, quantileNormal((1 + 0.95 ** (1 / 8)) / 2), 0.1);
  }
  for (const half of halves(several, 1)) {
    assertAlmostEquals(half, quantileNormal(0.95 ** (1 / 8)), 0.1);
  }
  for (const half of halves(Array(8).fill(one), 2)) {
    assertAlmostEquals(half, 1.96, 0.05);
  }
});

/**
 * Results of DyLoRA and LoRA at four ranks, right on each example by chance.
 */
function drawn(
  examples: number,
  seed: number,
  rightBy: (method: string, rank: number) => number,
): Result[] {
  const draw = seededDraw(seed);
  const labels = balanced(examples);
  return ["dylora", "lora"].map((method) => ({
    ...resultOf("rte", method, {}, { labels }),
    ranks: [1, 2, 4, 8].map((rank) => {
      const chance = draw(examples);
      const predictions = labels.map((label, i) =>
        chance[i]! < rightBy(method, rank) * examples ? label : 1 - label
      );
      const accuracy = METRICS.accuracy(predictions, labels);
      return { rank, metrics: { accuracy }, predictions, probabilities: null };
    }),
  }));
}

/** Share of data sets with each kind of verdict. */
function shares(
  examples: number,
  rightBy: (method: string, rank: number) => number,
): Partial<Record<Verdict["kind"], number>> {
  const sets = 40;
  const kinds = Array.from(
    { length: sets },
    (_, seed) =>
      compare(drawn(examples, seed + 1, rightBy), {
        ...OPTIONS,
        replicates: 200,
        draw: seededDraw(0),
      }).comparisons[0]!.verdict!.kind,
  );
  return Object.fromEntries(
    [...Map.groupBy(kinds, (kind) => kind)].map(([kind, found]) => [
      kind,
      found.length / sets,
    ]),
  );
}

Deno.test("a verdict is wrong in about one of twenty data sets at most, where the truth is known", () => {
  // Of 40 sets, up to 6 are within three standard deviations of 2.
  const equal = shares(200, () => 0.8);
  assert((equal["other-better"] ?? 0) <= 0.15, JSON.stringify(equal));
  assert((equal["too-few-examples"] ?? 0) >= 0.85, JSON.stringify(equal));
  const chance = shares(200, () => 0.5);
  assert((chance["nothing-learnt"] ?? 0) >= 0.85, JSON.stringify(chance));
  const better = shares(
    400,
    (method, rank) => method === "lora" && rank === 8 ? 0.95 : 0.75,
  );
  assert((better["other-better"] ?? 0) >= 0.95, JSON.stringify(better));
});
