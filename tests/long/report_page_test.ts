import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { barContent, stageGraph } from "../../lib/cli/pages/stage_graph.ts";
import { compare } from "../../lib/report/compare.ts";
import { renderFigures } from "../../lib/report/figure.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import { renderPage } from "../../lib/report/page.ts";
import { type RunFacts, withFacts } from "../../lib/report/run_facts.ts";
import { seededDraw } from "../../lib/report/statistics.ts";
import { until } from "../until.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";
import { EXAMPLES, OPTIONS, resultOf, trainingOf } from "../report/results.ts";

const missing = chromiumMissing();
if (missing !== undefined) {
  console.log(`Tests of the page are skipped: ${missing}`);
}

const RUN: RunFacts = {
  pipeline: "my pipeline",
  exporting: "deno task export 'my pipeline.yaml'",
  options: ["--set", "rank=4"],
  header: "<p>2026-01-02 03:04 UTC</p>",
  section: `<section id="this-run"><h2>The run</h2><div class="scroll">${
    stageGraph(
      ["data", "train-dylora", "report"].map((name, depth, names) => ({
        name,
        stages: [name],
        inputs: [],
        needs: names.slice(Math.max(0, depth - 1), depth),
        depth,
      })),
      () => barContent("12.3 s", 0.5),
    )
  }</div></section>`,
};

/** Writes a page of three methods, with a run, and returns its address. */
async function writePage(folder: string): Promise<string> {
  const texts = Array.from(
    { length: EXAMPLES },
    (_, i) => ({ text: `Which machines of bank ${i} accept this card ?` }),
  );
  const trained = (rank: number) => ({ training: trainingOf(rank), texts });
  const results = ["rte", "mrpc"].flatMap((task) => [
    resultOf(task, "dylora", { 1: 12, 2: 8, 3: 8, 4: 6 }, trained(4)),
    ...[1, 4].map((rank) =>
      resultOf(task, "lora", { [rank]: 6 - rank }, trained(rank))
    ),
    // A legend of long titles, and one of three methods.
    ...(task === "mrpc"
      ? [resultOf(task, "lora-svd", { 1: 5, 4: 6 }, trained(4))]
      : [
        ...["all", "frozen", "strict", "another"].map((mode) =>
          resultOf(task, "matryoshka", { 1: 5, 4: 6 }, {
            ...trained(4),
            variant: { mode, sampler: "geometric" },
          })
        ),
        resultOf(task, "head", { 0: 16 }, { ...trained(0), size: null }),
      ]),
  ]);
  const options = { ...OPTIONS, draw: seededDraw(0), replicates: 100 };
  const report = compare(results, options);
  const runtimes = ["vega/runtime", "vega-embed/runtime"].map((name) =>
    Deno.readTextFileSync(fileURLToPath(import.meta.resolve(name)))
  );
  const page = renderPage({
    report,
    markdown: renderMarkdown(report),
    figures: await renderFigures(report),
    runtimes,
  });
  const path = join(folder, "report.html");
  Deno.writeTextFileSync(path, withFacts(page, RUN));
  return pathToFileURL(path).href;
}

/** A rank curve with its panel, and the shown text of the panel. */
const CURVE =
  `document.querySelector('[data-figure="rte-validation.svg"]').closest("section")`;
const PANEL = `${CURVE}.querySelector(".ranks [aria-live]").innerText`;
const COPY =
  `${CURVE}.querySelector(".ranks [aria-live] > :not([hidden]) .command button")`;

/**
 * The ratio of contrast of the text to its ground (WCAG 2.2, 1.4.3); a tooltip
 * has a ground of its own.
 */
const CONTRAST = `(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((it) => {
      const share = Number(it) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const ratios = [...document.querySelectorAll("p, td, a, figcaption, .chart text")].filter((it) => !it.closest("#vg-tooltip-element")).map((it) => {
    const { color, fill } = getComputedStyle(it);
    const ink = light(it.tagName === "text" ? fill : color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  });
  return Math.min(...ratios);
})()`;

Deno.test({
  name: "the page of a report works in Chromium",
  ignore: missing !== undefined,
  async fn(t) {
    const folder = Deno.makeTempDirSync();
    try {
      const url = await writePage(folder);
      await using browser = await Browser.start();
      await browser.open(url);
      await browser.until("document.documentElement.dataset.ready === ''");

      await t.step("it asks for nothing but itself", () => {
        assertEquals(browser.requests, [url]);
      });

      await t.step(
        "it folds all but the answer, a curve and the mistakes",
        async () => {
          const shown = await browser.evaluate<string[]>(
            `[...document.querySelectorAll("figure, table, h3")]
            .filter((it) => it.checkVisibility({ contentVisibilityAuto: true }) && !it.closest("details:not([open])"))
            .map((it) => it.dataset.figure ?? it.tagName)`,
          );
          assertEquals(shown, ["mean-of-2-validation.svg"]);
          await browser.evaluate(
            `[...document.querySelectorAll("nav a")].find((it) => it.textContent === "RTE").click()`,
          );
          await browser.until(
            `document.querySelector('[data-figure="rte-validation.svg"]').getBoundingClientRect().width > 0`,
          );
          const open = await browser.evaluate<number>(
            `${CURVE}.querySelectorAll("details[open] details:not([open])").length`,
          );
          assert(open > 4, `${open}`);
          await browser.evaluate(
            `for (const it of document.querySelectorAll("main details")) it.open = true`,
          );
        },
      );

      await t.step("it says what made it", async () => {
        const text = await browser.evaluate<string>(
          "document.querySelector('header').innerText",
        );
        assertMatch(text, /2026-01-02 03:04 UTC.*The run/s);
        assertEquals(
          await browser.evaluate(
            "document.querySelector('#this-run').innerText.split('\\n')[0]",
          ),
          "The run",
        );
        assertMatch(
          await browser.evaluate<string>("document.title"),
          /^my pipeline: /,
        );
        assertEquals(
          await browser.evaluate(
            "document.querySelectorAll('.graph path').length",
          ),
          2,
        );
      });

      await t.step("the pointer on a point shows its values", async () => {
        const { x, y } = await browser.evaluate<{ x: number; y: number }>(
          `(() => {
          const point = ${CURVE}.querySelector('.chart [aria-roledescription="point"]');
          point.scrollIntoView({ behavior: "instant", block: "center" });
          const { x, y, width, height } = point.getBoundingClientRect();
          return { x: x + width / 2, y: y + height / 2 };
        })()`,
        );
        await browser.send("Input.dispatchMouseEvent", {
          ...{ type: "mouseMoved", x, y },
        });
        await browser.until(
          `/method:?\\s*DyLoRA\\s*rank:?\\s*1\\s*accuracy, %:?\\s*70/.test(document.querySelector("#vg-tooltip-element")?.innerText ?? "")`,
        );
      });

      await t.step("ranks are picked by keyboard", async () => {
        await browser.evaluate(
          `${CURVE}.querySelector(".choices button").focus()`,
        );
        await browser.press("Tab");
        await browser.press("Tab");
        await browser.press("Enter");
        await browser.until(`/^Rank 3\\b/.test(${PANEL})`);
        const text = await browser.evaluate<string>(PANEL);
        assertMatch(text, /Accuracy, %: 80\.0 \[/);
        assertMatch(text, /14 kB: 3,000 values and 500 of the head/);
        assertMatch(
          text,
          /deno task export 'my pipeline\.yaml' train-dylora@rte --rank 3 --set rank=4/,
        );
        assertEquals(
          await browser.evaluate(
            `[...${CURVE}.querySelectorAll(".choices button")].filter((it) => it.ariaPressed === "true").map((it) => it.textContent)[0]`,
          ),
          "3",
        );
      });

      await t.step("a click in the legend picks a method", async () => {
        const faded =
          `[...${CURVE}.querySelectorAll('.chart [aria-roledescription="point"]')]
          .filter((it) => it.getAttribute("opacity") !== "1")
          .map((it) => /method: ([^;]*)/.exec(it.getAttribute("aria-label"))[1])`;
        assertEquals(await browser.evaluate(faded), []);
        const { x, y } = await browser.evaluate<{ x: number; y: number }>(
          `(() => {
          const label = [...${CURVE}.querySelectorAll(".chart .role-legend-label text")].find((it) => it.textContent === "DyLoRA");
          label.scrollIntoView({ behavior: "instant", block: "center" });
          const { x, y, width, height } = label.getBoundingClientRect();
          return { x: x + width / 2, y: y + height / 2 };
        })()`,
        );
        await browser.click(x, y);
        await browser.until(`${faded}.length > 0`);
        const others = await browser.evaluate<string[]>(faded);
        assert(others.includes("LoRA") && !others.includes("DyLoRA"));
      });

      await t.step("a command is copied", async () => {
        await browser.send("Browser.grantPermissions", {
          permissions: ["clipboardReadWrite", "clipboardSanitizedWrite"],
        });
        await browser.evaluate(
          `(() => { const copy = ${COPY}; copy.scrollIntoView({ behavior: "instant", block: "center" }); copy.focus(); })()`,
        );
        await browser.press(" ");
        await browser.until(
          `${COPY}.textContent === "Copied"`,
        );
        assertMatch(
          await browser.evaluate<string>("navigator.clipboard.readText()"),
          /^deno task export 'my pipeline\.yaml' train-dylora@rte --rank 3 /,
        );
      });

      await t.step("tables are saved", async () => {
        const downloads = join(folder, "downloads");
        Deno.mkdirSync(downloads);
        await browser.send("Browser.setDownloadBehavior", {
          behavior: "allow",
          downloadPath: downloads,
        });
        const saved = async (label: string, name: string) => {
          await browser.evaluate(
            `[...document.querySelectorAll("button")].find((it) => it.ariaLabel === ${
              JSON.stringify(label)
            }).click()`,
          );
          await until(
            () => existsSync(join(downloads, name)),
            `it saved ${name}`,
          );
          return Deno.readFileSync(join(downloads, name));
        };
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
        assertEquals(
          await browser.evaluate(
            `[...${CURVE}.querySelector(".chart .vega-actions").children].map((it) => it.textContent)`,
          ),
          ["Save as SVG", "Save as PNG"],
        );
        const csv = await saved("Save table 2 as CSV", "table-2.csv");
        const rows = text(csv).trimEnd().split("\r\n");
        assertMatch(rows[0]!, /^Rank,DyLoRA/);
        // The second table is that of differences over tasks, at ranks 1 and 4.
        assertEquals(rows.length, 1 + 2, text(csv));
        assertMatch(rows[1]!, /^1,"-17\.5 \[-\d+\.\d, -\d+\.\d\]"$/);
      });

      await t.step("it fits narrow windows and paper", async () => {
        for (const width of [400, 1280]) {
          await browser.show({ width });
          await browser.until(
            `document.documentElement.scrollWidth <= ${width}`,
          );
          await browser.until(
            `[...document.querySelectorAll(".chart .marks")].every((it) => it.getBoundingClientRect().right <= ${width})`,
          );
        }
        // The width of A4 without its margins, in pixels.
        await browser.show({ width: 680 });
        await browser.send("Emulation.setEmulatedMedia", { media: "print" });
        await browser.until("document.documentElement.scrollWidth <= 680");
        assertEquals(
          await browser.evaluate(
            `[...document.querySelectorAll("table")].filter((it) => it.getBoundingClientRect().right > 681).length`,
          ),
          0,
        );
        await browser.send("Emulation.setEmulatedMedia", { media: "" });
      });

      await t.step("its text has contrast in both themes", async () => {
        for (const theme of ["light", "dark"] as const) {
          await browser.show({ theme });
          const ratio = await browser.evaluate<number>(CONTRAST);
          assert(ratio >= 4.5, `${theme}: ${ratio}`);
        }
        const ground = await browser.evaluate<string>(
          "getComputedStyle(document.body).backgroundColor",
        );
        assertEquals(ground, "rgb(21, 24, 28)");
      });

      await t.step("a legend of several rows is in its figure", async () => {
        for (const width of [400, 1280]) {
          await browser.open(url, { width });
          await browser.until("document.documentElement.dataset.ready === ''");
          await browser.evaluate(
            `for (const it of document.querySelectorAll("main details")) it.open = true`,
          );
          await browser.until(
            `[...document.querySelectorAll(".chart .marks")].every((it) => it.getBoundingClientRect().width > 100)`,
          );
          const cut = await browser.evaluate<string[]>(
            `[...document.querySelectorAll(".chart svg.marks")].flatMap((svg) =>
              [...svg.querySelectorAll(".role-legend-label text")].filter((it) =>
                it.getBoundingClientRect().top < svg.getBoundingClientRect().top
              ).map((it) => it.textContent))`,
          );
          assertEquals(cut, [], `${width}`);
        }
      });

      await t.step(
        "long names of classes leave the texts of mistakes in view",
        async () => {
          await browser.open(url, { width: 1280 });
          await browser.until("document.documentElement.dataset.ready === ''");
          const widths = await browser.evaluate<number[][]>(
            `[...document.querySelectorAll(".first .scroll:has(td[align=left])")].map((it) => {
            for (const cell of it.querySelectorAll("td:not([align=left], :first-child)")) {
              cell.textContent = "apple_pay_or_google_pay";
            }
            return [it.scrollWidth, it.clientWidth];
          })`,
          );
          assert(widths.length > 0);
          for (const [whole, shown] of widths) assertEquals(whole, shown);
        },
      );

      assertEquals(browser.errors, []);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
