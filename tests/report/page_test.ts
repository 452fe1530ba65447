import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertRejects,
} from "@std/assert";
import fc from "fast-check";
import { problemOf } from "../../lib/problems/registry.ts";
import {
  TEXT_METRICS,
  textStatistics,
} from "../../lib/problems/text_metrics.ts";
import { compare } from "../../lib/report/compare.ts";
import { renderFigures } from "../../lib/report/figure.ts";
import { figuresOf } from "../../lib/report/figure_names.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import { renderPage } from "../../lib/report/page.ts";
import type { Result } from "../../lib/report/result.ts";
import { seededDraw } from "../../lib/report/statistics.ts";
import { EXAMPLES, OPTIONS, resultOf, trainingOf } from "./results.ts";

/** The report of results, its figures by name, and its page without Vega. */
async function pageOf(results: readonly Result[]) {
  const options = { ...OPTIONS, draw: seededDraw(0), replicates: 100 };
  const report = compare(results, options);
  const markdown = renderMarkdown(report);
  const figures = await renderFigures(report);
  const page = renderPage({ report, markdown, figures, runtimes: ["", ""] });
  return { report, figures, page };
}

/**
 * The part of a page that a reader sees without scripts, without its figures.
 */
function textOf(page: string, figures: readonly { readonly svg: string }[]) {
  const body = page.slice(page.indexOf("<header>"), page.indexOf("</main>"));
  return figures.reduce((text, { svg }) => {
    assert(text.includes(svg));
    return text.replace(svg, "");
  }, body);
}

Deno.test("renderPage() shows ranks to pick only where a method has some", async () => {
  const { page } = await pageOf([
    resultOf("rte", "head", { 0: 12 }),
    resultOf("mrpc", "dylora", { 1: 12 }),
  ]);
  const figures = [...page.matchAll(/<figure data-figure="([^"]*)"/g)]
    .map(([, name]) => name);
  assertEquals(figures, ["rte-validation.svg", "mrpc-validation.svg"]);
  const [, before, after] = page.split('<section id="section-');
  assertEquals(
    [before, after].map((it) => it!.includes('<section class="card ranks"')),
    [false, true],
  );
});

Deno.test("renderPage() renders names as text, whatever they contain", async () => {
  const names = fc.oneof(
    fc.string({ minLength: 1, unit: "grapheme" }),
    fc.constantFrom(
      "<script>alert(1)</script>",
      "</script><script>alert(1)</script>",
      "[x](javascript:alert(1))",
      "![x](http://example.org/x.png)",
      "a | b",
      "`<b>`",
      "# &lt;i&gt;",
      "\u2028",
      "a\u2029b",
    ),
  );
  await fc.assert(
    fc.asyncProperty(names, names, names, async (title, split, value) => {
      const { page, figures, report } = await pageOf([
        resultOf(title, "dylora", { 1: 9, 8: 3 }, {
          title,
          split,
          variant: { value },
          training: trainingOf(8, { scale: "alpha / b" }),
        }),
      ]);
      const text = textOf(page, figures);
      assertNotMatch(text, /<(script|img|b|i)[ >]/);
      assertNotMatch(text, /<a (?!href="#)/);
      assertEquals(text.match(/<h2>/g)?.length, 1);
      // A row has as many cells as its header.
      for (const [table] of text.matchAll(/<table>[^]*?<\/table>/g)) {
        const rows = table.split("</tr>").slice(0, -1)
          .map((row) => row.match(/<t[hd]>/g)!.length);
        assertEquals(new Set(rows).size, 1);
      }
      // The scripts of the page itself: two of data, two of Vega, its own.
      assertEquals(page.match(/<script/g)?.length, 5);
      assertEquals(page.match(/<\/script>/g)?.length, 5);
      for (const { name } of figuresOf(report.comparisons[0]!)) {
        assertMatch(name, /^[\w.-]+\.svg$/);
      }
    }),
    { numRuns: 30 },
  );
});

Deno.test("renderPage() refuses an image that is not a figure of the report", async () => {
  const { report } = await pageOf([resultOf("rte", "dylora", { 1: 4, 2: 2 })]);
  await assertRejects(
    // deno-lint-ignore require-await
    async () =>
      renderPage({
        report,
        markdown: "## x\n\n![x](other.svg)",
        figures: [],
        runtimes: [],
      }),
    TypeError,
    'no figure "other.svg"',
  );
});

/** The panel of the first figure of a page by rank, a line for each element. */
function panelOf(page: string): string[] {
  const [, panel] = /<div aria-live="polite">([^]*?)<\/section>/.exec(page)!;
  return panel!.split("<div hidden>").slice(1).map((html) =>
    html.replaceAll(/<div class="command" data-words="([^"]*)">/g, "$1")
      .replaceAll("&#34;", '"').replaceAll(/(<[^>]*>|\n)+/g, "\n").trim()
  );
}

Deno.test("renderPage() gives the scores, size and stage of each method by rank", async () => {
  const { page } = await pageOf([
    resultOf("rte", "dylora", { 1: 12, 2: 8 }, {
      training: trainingOf(2, { scale: "alpha / b" }),
    }),
    resultOf("rte", "lora", { 2: 4 }, { training: trainingOf(2) }),
    resultOf("rte", "head", { 0: 16 }, { size: null }),
  ]);
  const [one, two, ...others] = panelOf(page);
  assertEquals(others, []);
  const [score, ...texts] = one!.split("\n").slice(2);
  assertMatch(score!, /^Accuracy, %: 70\.0 \[[\d.]+, [\d.]+\]$/);
  assertEquals(texts, [
    "6 kB: 1,000 values and 500 of the head",
    '["train-dylora@rte","--rank","1"]',
    "Not run: LoRA",
  ]);
  // 32 of 40 are right, with the interval of the table.
  const [, found] = /^Rank 2\nDyLoRA[^]*\nAccuracy, %: (80\.0 \[.*\])/.exec(
    two!,
  )!;
  assert(page.includes(`<td>${found}</td>`));
  assertMatch(two!, /\nLoRA\nAccuracy, %: 90\.0 .*\n.*\n.*train-lora@rte/);
});

Deno.test("renderPage() gives intervals of all metrics of written texts by rank, and the unit of those that are shares", async () => {
  const words = ["a", "good", "old", "film", "of", "a", "dull", "plot"];
  const texts = Array.from({ length: EXAMPLES }, (_, i) => ({
    text: words.slice(0, 2 + i % 7).join(" "),
    references: [words.join(" ")],
  }));
  const problem = problemOf({ problem: "writing", labels: null });
  const labels = new Float32Array(EXAMPLES);
  const metrics = Object.keys(TEXT_METRICS);
  const predictions = Float32Array.from(textStatistics(texts));
  const { page } = await pageOf([{
    ...resultOf("e2e", "dylora", {}, { labels, problem }),
    ranks: [{
      rank: 1,
      metrics: Object.fromEntries(
        metrics.map((
          name,
        ) => [name, problem.scorer(name, labels)()(predictions)]),
      ),
      predictions,
      probabilities: null,
    }],
  }]);
  const lines = panelOf(page)[0]!.split("\n")
    .filter((line) => line.includes("["));
  assertEquals(lines.length, metrics.length);
  for (const [i, title] of ["BLEU, %", "ROUGE-L, %", "NIST"].entries()) {
    assertMatch(
      lines[i]!,
      new RegExp(`^${title}: [\\d.]+ \\[[\\d.]+, [\\d.]+\\]$`),
    );
  }
});

Deno.test("renderPage() gives the options that export adapters of the epoch that it shows", async () => {
  const { page } = await pageOf([
    resultOf("rte", "dylora", { 1: 12, 2: 8 }, { training: trainingOf(2) }),
    resultOf("rte", "dylora", { 1: 8, 2: 4 }, {
      training: trainingOf(2),
      epoch: "best",
    }),
  ]);
  const optionsOf = (figure: string) => {
    const [, own] = page.split(`<figure data-figure="${figure}"`);
    return JSON.parse(panelOf(own!)[0]!.split("\n").at(-1)!).slice(3);
  };
  assertEquals(optionsOf("rte-validation.svg"), []);
  assertEquals(optionsOf("rte-validation-best-epoch.svg"), ["--epoch", "best"]);
});

Deno.test("renderPage() forbids the network, and leaves a place for the run", async () => {
  const { page } = await pageOf([resultOf("rte", "dylora", { 1: 4, 2: 2 })]);
  assertMatch(
    page,
    /http-equiv="Content-Security-Policy" content="default-src 'none'; /,
  );
  assertEquals(
    page.match(/<script type="application\/json" id="run">null<\/script>/g)
      ?.length,
    1,
  );
  assertNotMatch(page, /(src|href)="(?!#)/);
});

Deno.test("renderFigures() leaves out a score that is undefined", async () => {
  const { report } = await pageOf([resultOf("rte", "dylora", { 1: 4, 2: 2 })]);
  const undefinedScore = JSON.parse(JSON.stringify(report));
  const score = undefinedScore.comparisons[0].methods[0].ranks[1];
  score.interval = null;
  score.metrics.accuracy.mean = null;
  const [figure] = await renderFigures(undefinedScore);
  assertEquals(figure!.name, "rte-validation.svg");
  assertEquals(
    figure!.svg.match(/aria-roledescription="point"/g)?.length,
    1,
  );
  assertNotMatch(figure!.svg, /NaN/);
});

Deno.test("renderFigures() draws one segment for each training and for its evaluation", async () => {
  const training = (rank: number) => ({ training: trainingOf(rank) });
  const { figures } = await pageOf([
    resultOf("rte", "dylora", { 1: 12, 2: 8, 4: 6 }, training(4)),
    ...[1, 2, 4, 8].map((rank) =>
      resultOf("rte", "lora", { [rank]: 4 }, training(rank))
    ),
    resultOf("rte", "full", { 0: 2 }, { ...training(0), size: null }),
  ]);
  const { svg } = figures.find(({ name }) => name.endsWith("-cost.svg"))!;
  const labels = [...svg.matchAll(/aria-label="([^"]*)"[^>]*"bar"/g)]
    .map(([, label]) => label!);
  const segments = (row: string) =>
    labels.filter((label) => label.includes(`: ${row}`)).length;
  assertEquals(segments("DyLoRA, training"), 1);
  assertEquals(segments("DyLoRA, evaluation"), 1);
  // Of LoRA, only the ranks within those of DyLoRA.
  assertEquals(segments("LoRA, training"), 3);
  assertEquals(segments("LoRA, evaluation"), 3);
  assertEquals(labels.length, 8);
});

Deno.test("renderFigures() counts in the cost only the trainings that the speed-up counts", async () => {
  const training = (rank: number) => ({ training: trainingOf(rank) });
  const { figures, report } = await pageOf([
    resultOf("rte", "dylora", { 3: 5, 4: 4 }, training(4)),
    ...[1, 2, 3, 4].map((rank) =>
      resultOf("rte", "lora", { [rank]: 5 }, training(rank))
    ),
  ]);
  assertEquals(report.comparisons[0]!.contrasts[0]!.speedUp?.ranks, [3, 4]);
  const { svg } = figures.find(({ name }) => name.endsWith("-cost.svg"))!;
  const bars = [
    ...svg.matchAll(
      /aria-label="seconds: (\d+); row: LoRA, training;.*?rank: (\d)/g,
    ),
  ].map(([, seconds, rank]) => ({ rank, seconds: Number(seconds) }));
  assertEquals(bars.map(({ rank }) => rank), ["3", "4"]);
  const [, sum] = />Training, (\d+) s: LoRA</.exec(svg)!;
  assertEquals(
    Number(sum),
    bars.reduce((sum, { seconds }) => sum + seconds, 0),
  );
});
