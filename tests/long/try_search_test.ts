/** The page of `try` for an adapter of embeddings, in Chromium. */
import { assertEquals } from "@std/assert";
import { load, ranking } from "../../lib/serve/embedder.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import { copiedStages } from "../cli/copied_stages.ts";
import { ServedPage } from "../cli/pages/served_page.ts";
import { assertClose, fixture } from "../engine/reference.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";
import { randomAdapterFolder } from "../tasks/random_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const missing = chromiumMissing();
const MODEL = fixture("tiny-bert");
const QUERY = "it rained";
const LINES = ["a film that stays", "it rained , and rained", "never dull"];

Deno.test({
  name:
    `the page of try ranks lines by a query at any rank, as embedder.ts does${
      missing === undefined ? "" : ` (skipped: ${missing})`
    }`,
  ignore: missing !== undefined,
  fn: () =>
    withFolder(async (folder) => {
      const adapter = await randomAdapterFolder(folder, MODEL, {
        problem: "retrieval",
        labels: null,
      });
      using project = await copiedStages({ model: MODEL, train: adapter });
      await using page = await ServedPage.start("try", project);
      await using browser = await Browser.start();
      await browser.open(page.url, { width: 400 });
      const told = (text: string) =>
        browser.until(
          `${text}.test(document.getElementById("status").textContent)`,
        );
      await told("/^Enter a query$/");
      const { output } = await runTask(exportOnnx, folder, {}, {
        model: MODEL,
        adapter,
      });
      const embed = await load(output);
      for (const rank of [4, 1]) {
        await browser.evaluate(`(() => {
          const set = (id, value) => {
            const box = document.getElementById(id);
            box.value = value;
            box.dispatchEvent(new Event("input"));
          };
          set("text", ${JSON.stringify(QUERY)});
          set("pair", ${JSON.stringify(LINES.join("\n"))});
          set("rank", "${rank - 1}");
        })()`);
        await told(`/^3 texts at rank ${rank}, /`);
        const [query, ...rows] = await embed([QUERY, ...LINES], { rank });
        const expected = ranking(query!, rows)
          .map(({ index, cosine }) => [LINES[index], cosine.toFixed(3)]);
        const found = await browser.evaluate<string[][]>(
          `[...document.querySelectorAll("#answers tr")].slice(1)
            .map((row) => [...row.cells].map((it) => it.textContent))`,
        );
        assertEquals(found.map(([text]) => text), expected.map(([it]) => it));
        assertClose(
          found.map(([, cosine]) => Number(cosine)),
          expected.map(([, cosine]) => Number(cosine)),
          2e-3,
          `rank ${rank}`,
        );
      }
      await embed.release();
      assertEquals(browser.errors, []);
    }),
});
