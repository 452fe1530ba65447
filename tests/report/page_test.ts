import {
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { renderFigure } from "../../lib/report/figure.ts";
import { figureName, renderMarkdown } from "../../lib/report/markdown.ts";
import { renderPage } from "../../lib/report/page.ts";
import type { Comparison } from "../../lib/report/report.ts";

Deno.test("renderPage() renders names as text, whatever they contain", async () => {
  const names = fc.oneof(
    fc.string({ minLength: 1, unit: "grapheme" }),
    fc.constantFrom(
      "<script>alert(1)</script>",
      "[x](javascript:alert(1))",
      "![x](http://example.org/x.png)",
      "a | b",
      "`<b>`",
      "# &lt;i&gt;",
    ),
  );
  await fc.assert(
    fc.asyncProperty(names, names, names, async (title, split, variant) => {
      const comparison = comparisonOf({ task: title, title, split }, variant);
      const name = figureName(comparison);
      const svg = await renderFigure(comparison);
      const page = renderPage(
        renderMarkdown({
          comparisons: [comparison],
          averages: [],
          choices: [],
        }),
        new Map([[name, svg]]),
      );
      assertStringIncludes(page, svg);
      const text = page.replace(svg, "");
      assertNotMatch(text, /<(script|img|b|i|a)[ >]/);
      assertEquals(text.match(/<h2>/g)?.length, 1);
      // Scores, bounds, area, evidence, costs: a row has as many cells as its header.
      assertEquals(
        text.match(/<t[hd][ >]/g)!.length,
        3 * 2 + 2 * 2 + 2 * 4 + 3 * 4 + 12 * 2,
      );
      assertMatch(name, /^[\w.-]+\.svg$/);
    }),
    { numRuns: 60 },
  );
});

Deno.test("renderPage() refuses an image that is not a figure of the report", () => {
  assertThrows(
    () => renderPage("![x](other.svg)", new Map()),
    Error,
    'no figure "other.svg"',
  );
});

Deno.test("renderFigure() leaves out a score that is undefined", async () => {
  const comparison = comparisonOf({}, "");
  const [first, second] = comparison.methods[0]!.ranks;
  const undefinedRank = {
    ...second!,
    intervals: { mean: null, median: null },
    metrics: {
      accuracy: { mean: null, median: null, deviation: null, values: [null] },
    },
  };
  const method = { ...comparison.methods[0]!, ranks: [first!, undefinedRank] };
  const svg = await renderFigure({ ...comparison, methods: [method] });
  assertEquals(svg.match(/aria-roledescription="point"/g)?.length, 1);
  assertNotMatch(svg, /NaN/);
});

/** A comparison of one method at two ranks. */
function comparisonOf(
  names: Partial<Pick<Comparison, "task" | "title" | "split">>,
  variant: string,
): Comparison {
  const around = (score: number): [number, number] => [
    score - 0.1,
    score + 0.1,
  ];
  const rankOf = (rank: number, score: number) => ({
    rank,
    seeds: [0],
    metrics: {
      accuracy: {
        mean: score,
        median: score,
        deviation: null,
        values: [score],
      },
    },
    intervals: { mean: around(score), median: around(score) },
  });
  const pick = {
    method: 0,
    title: variant,
    rank: 8,
    score: 0.8,
    interval: around(0.8),
  };
  return {
    task: "sst2",
    title: "SST-2",
    split: "validation",
    ...names,
    examples: 100,
    epoch: "last",
    metrics: ["accuracy"],
    majority: { accuracy: 0.5 },
    confidence: 0.95,
    verdict: {
      kind: "recommended",
      headline: variant,
      reasons: [variant],
      recommended: pick,
      best: pick,
      margin: 0.01,
      bound: null,
      reference: {
        ...pick,
        kind: "constant",
        referenceScore: 0.5,
        difference: 0.3,
        differenceInterval: [0.2, 0.4],
      },
      other: null,
      seeds: 1,
    },
    methods: [{
      role: "candidate",
      method: "dylora",
      variant: { variant },
      ranks: [rankOf(1, 0.7), rankOf(8, 0.8)],
      area: { value: 0.75, interval: [0.65, 0.85] },
      elbow: null,
      recommendation: {
        rank: 8,
        best: 8,
        margin: 0.01,
        confidence: 0.95,
        evidence: [
          { rank: 1, loss: 0.1, bound: 0.15, sufficient: false },
          { rank: 8, loss: 0, bound: 0, sufficient: true },
        ],
      },
      evaluatedIn: ["f32"],
      settings: {
        epochs: [2],
        batchSize: [32],
        learningRate: [1e-3],
        alpha: [16],
        scale: ["alpha / b"],
        precision: ["f32"],
        engine: ["tensorflow"],
        startedFrom: [],
        selectedOn: [],
      },
      cost: {
        ranks: [1, 8],
        trainings: 1,
        stepSeconds: 0.1,
        steps: 10,
        examples: 320,
        trainingSeconds: 1,
        selectionSeconds: 0,
        reductionSeconds: 0,
        evaluationSeconds: 1,
        sweepSeconds: 2,
        trainingFlops: 1e12,
        selectionFlops: 0,
        evaluationFlops: 1e10,
        sweepFlops: 1.01e12,
      },
    }],
    contrasts: [],
  };
}
