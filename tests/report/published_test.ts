import { assertEquals, assertMatch } from "@std/assert";
import { publishedText } from "../../lib/report/text/published.ts";
import type { Comparison } from "../../lib/report/report.ts";
import type { Variant } from "../../lib/report/result.ts";

/** What is published beside comparisons of tasks, each with these variants of DyLoRA. */
function published(
  tasks: readonly string[],
  ...variants: readonly Variant[]
): string {
  const methods = variants.map((variant) => ({ method: "dylora", variant }));
  const comparisons = tasks.map((task) => ({
    task,
    title: task.toUpperCase(),
    methods,
  })) as unknown as Comparison[];
  return publishedText({ comparisons, averages: [], choices: [] }).join("\n\n");
}

Deno.test("publishedText() shows the paper's ablation beside one of modes or samplers, and nowhere else", () => {
  const figures = /arXiv 2210\.07558, table 4/;
  assertMatch(
    published(["sst2"], { mode: "all" }, { mode: "frozen" }),
    figures,
  );
  const text = published(
    ["sst2"],
    { sampler: "uniform" },
    { sampler: "geometric" },
  );
  assertMatch(text, /^## Published figures$/m);
  assertMatch(text, /^\| 1 \| 83\.30 \| 81\.61 \| 83\.42 \|$/m);
  assertMatch(text, /^\| 8 \| 84\.47 \| 83\.31 \| not at hand \|$/m);
  assertEquals(published(["sst2"], {}), "");
  assertEquals(published(["sst2"], { maximum: 8 }, { maximum: 32 }), "");
});

Deno.test("publishedText() shows the FourierFT paper's figures beside all of its tasks", () => {
  const six = ["cola", "sst2", "mrpc", "stsb", "qnli", "rte"];
  const text = published([...six, "qqp", "mnli"], {});
  assertMatch(text, /arXiv 2405\.03003, table 2/);
  assertMatch(
    text,
    /^\| Method \| SST2 \| MRPC \| COLA \| QNLI \| RTE \| STSB \|$/m,
  );
  assertMatch(
    text,
    /^\| DyLoRA \| 94\.3 \| 89\.5 \| 61\.1 \| 92\.2 \| 78\.7 \| 91\.1 \|$/m,
  );
  assertMatch(
    text,
    /^\| LoRA \| 95\.1 \| 89\.7 \| 63\.4 \| 93\.3 \| 78\.4 \| 91\.5 \|$/m,
  );
  assertEquals(published(six.slice(1), {}), "");
});
