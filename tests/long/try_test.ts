/** The page of `try` in Chromium, beside lib/serve in Deno. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { type Input, load } from "../../lib/serve/classifier.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import { CliProject } from "../cli/project.ts";
import { copiedStages } from "../cli/copied_stages.ts";
import { ServedPage } from "../cli/pages/served_page.ts";
import { fixture } from "../engine/reference.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";
import { randomAdapterFolder } from "../tasks/random_adapter.ts";
import { REFERENCE_TRAINING } from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const missing = chromiumMissing();
const suffix = missing === undefined ? "" : ` (skipped: ${missing})`;
const MODEL = fixture("tiny-bert");
const { rank: maxRank } = REFERENCE_TRAINING;

/**
 * Serves the page of an adapter with random values, and opens it.
 *
 * @param labels Null for a regression
 * @param columns Names of the columns of its one or two texts
 */
async function withPage(
  labels: string[] | null,
  columns: readonly string[],
  body: (
    page: ServedPage,
    browser: Browser,
    folder: string,
  ) => Promise<void>,
  problem = labels === null ? "regression" : "classification",
): Promise<void> {
  await withFolder(async (folder) => {
    const data = await Deno.makeTempDir({ dir: folder });
    const dataset = JSON.stringify({ columns, problem, labels });
    Deno.writeTextFileSync(join(data, "dataset.json"), dataset);
    const training = { problem, labels };
    const adapter = await randomAdapterFolder(folder, MODEL, training);
    using project = await copiedStages({
      model: MODEL,
      dataset: data,
      train: adapter,
    });
    await using page = await ServedPage.start("try", project);
    await using browser = await Browser.start();
    await browser.open(page.url, { width: 400 });
    await told(browser, /^Enter a text$/);
    const given = { model: MODEL, adapter };
    const { output } = await runTask(exportOnnx, folder, {}, given);
    await body(page, browser, output);
    assertEquals(browser.errors, []);
    const isOwn = (it: string) => it.startsWith(page.url) || it === "data:,";
    assertEquals(browser.requests.filter((it) => !isOwn(it)), []);
  });
}

/** Waits until the page tells something. */
function told(browser: Browser, text: RegExp, id = "status"): Promise<void> {
  return browser.until(
    `${text}.test(document.getElementById("${id}").textContent)`,
  );
}

/** Types into a box, in place of what is in it, as a user does. */
async function type(browser: Browser, id: string, text: string): Promise<void> {
  await browser.evaluate(`document.getElementById("${id}").select()`);
  await browser.type(text);
}

/** The cells of the table. */
function cells(browser: Browser): Promise<string[][]> {
  return browser.evaluate(
    `[...document.querySelectorAll("#answers tr")].map(({ cells }) => [...cells].map((it) => it.textContent))`,
  );
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

Deno.test({
  name: `try classifies pairs in the browser, at every rank${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(
      ["yes", "no", "so-so"],
      ["question", "sentence"],
      async (page, browser, folder) => {
        const classify = await load(folder);
        const pairs = [
          { text: "Who wrote it?", pair: "It was written by a friend." },
          { text: "It rains.", pair: "Rain falls." },
        ];
        await type(browser, "text", pairs[0]!.text);
        await type(browser, "pair", pairs[0]!.pair);
        const shows = async (inputs: readonly Input[], rank: number) => {
          const answers = await classify(inputs, { rank });
          const [{ label, score, scores }] = answers as [typeof answers[0]];
          if (inputs.length > 1) {
            await told(browser, RegExp(`^2 texts: .* at rank ${rank}, in`));
            return answers.map(({ label, score }) => [label, percent(score)]);
          }
          await told(
            browser,
            RegExp(`^${label}, ${percent(score)} at rank ${rank}, in \\d+ ms$`),
          );
          return Object.entries(scores).sort(([, a], [, b]) => b - a)
            .map(([it, n]) => [it, percent(n)]);
        };
        const expected = await shows(pairs.slice(0, 1), maxRank);
        assertEquals(await cells(browser), [
          ["Class", "Probability"],
          ...expected,
        ]);
        const [none] = await classify(["a"], { rank: 1 });
        assert(none!.scores.yes !== none!.scores.no);

        // By the keyboard alone: from the second text to the slider, and down.
        await browser.press("Tab");
        for (let rank = maxRank - 1; rank > 0; rank--) {
          await browser.press("ArrowLeft");
          const rows = await shows(pairs.slice(0, 1), rank);
          assertEquals((await cells(browser)).slice(1), rows);
        }

        const [first, second] = [["Who?", "a"], ["What?", "b"]];
        await type(browser, "text", first!.join("\n"));
        await told(
          browser,
          /^There are 2 first and 1 second texts: write as many/,
          "problem",
        );
        await type(browser, "pair", second!.join("\n"));
        const several = first!.map((text, i) => ({ text, pair: second![i]! }));
        const rows = await shows(several, 1);
        assertEquals(await cells(browser), [
          ["question", "sentence", "Class", "Probability"],
          ...rows.map((row, i) => [first![i], second![i], ...row]),
        ] as string[][]);
        assertEquals(
          await browser.evaluate(`document.getElementById("problem").hidden`),
          true,
        );
        await classify.release();

        // Once it is loaded, the page needs nothing but itself.
        assertEquals(await page.stop(), 130);
        await type(browser, "text", "Who wrote it?");
        await type(browser, "pair", "A friend.");
        await told(browser, /^(yes|no|so-so), .* at rank 1, in \d+ ms$/);
        assertEquals((await cells(browser)).length, 4);
      },
    ),
});

Deno.test({
  name:
    `try fits a phone and a dark theme, has names for screen readers, and says what is wrong${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(
      ["bad", "good"],
      ["sentence"],
      async ({ url }, browser) => {
        await type(browser, "text", `A film.\n${"so dull ".repeat(30)}`);
        await told(browser, /^2 texts: /);
        const isWithin = `document.documentElement.scrollWidth <= innerWidth`;
        assert(await browser.evaluate<boolean>(isWithin));
        const ground = `getComputedStyle(document.body).backgroundColor`;
        const light = await browser.evaluate(ground);
        await browser.show({ width: 400, theme: "dark" });
        assert(await browser.evaluate(ground) !== light);

        const { nodes } = await browser.send("Accessibility.getFullAXTree") as {
          nodes: Record<"role" | "name", { value: string } | undefined>[];
        };
        const named = (role: string) =>
          nodes.filter((it) => it.role?.value === role)
            .map(({ name }) => name?.value);
        assertEquals(named("textbox"), ["Text, or several, one a line"]);
        assertEquals(named("slider"), ["Rank"]);
        assertEquals(named("columnheader"), ["Text", "Class", "Probability"]);
        assertEquals(named("status").length, 1);

        await type(browser, "text", "a".repeat(100_000));
        await told(browser, /^Text 1 has 100000 characters, and/, "problem");
        assertEquals(await cells(browser), []);
        await type(browser, "text", " ");
        await told(browser, /^Enter a text$/);

        const statuses = await Promise.all(
          ["model/%2e%2e%2fcode", "model/", "other"].map(async (path) => {
            const { status, body } = await fetch(url + path);
            await body?.cancel();
            return status;
          }),
        );
        assertEquals(statuses, [404, 404, 404]);
      },
    ),
});

Deno.test({
  name: `try shows the score of a regression${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(null, ["text"], async (_, browser, folder) => {
      const classify = await load(folder);
      const texts = ["It rains.", "Rain falls."];
      const scores = (await classify(texts)).map(({ score }) =>
        score.toFixed(3)
      );
      await classify.release();
      await type(browser, "text", texts[0]!);
      await told(browser, RegExp(`^Score ${scores[0]} at rank ${maxRank}, in`));
      await type(browser, "text", texts.join("\n"));
      await told(browser, /^2 texts at rank/);
      assertEquals(await cells(browser), [
        ["Text", "Score"],
        ...texts.map((text, i) => [text, scores[i]!]),
      ]);
    }),
});

Deno.test({
  name:
    `try marks entities in the typed text, at the rank of the slider${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(
      ["O", "B-LOC", "B-PER"],
      ["tokens"],
      async (_, browser, folder) => {
        const classify = await load(folder);
        const texts = ["Who wrote it in 1999?", "A friend of the band."];
        const answersAt = (rank: number) => classify(texts, { rank });
        await type(browser, "text", texts.join("\n"));
        const seen = new Set<string>();
        for (let rank = maxRank; rank > 0; rank--) {
          if (rank === maxRank) await browser.press("Tab");
          else await browser.press("ArrowLeft");
          await told(browser, RegExp(`^2 texts: .* at rank ${rank}, in`));
          const answers = await answersAt(rank);
          const marks = await browser.evaluate<string[]>(
            `[...document.querySelectorAll("mark")].map((it) => it.textContent)`,
          );
          assertEquals(
            marks,
            answers.flatMap(({ entities }) =>
              entities!.map(({ text, label, probability }) =>
                `${text} ${label}, ${percent(probability)}`
              )
            ),
          );
          const [head, ...rows] = await cells(browser);
          assertEquals(head, ["Text"]);
          const plain = rows.map(([row]) =>
            row!.replaceAll(/ (LOC|PER), [\d.]+ %/g, "")
          );
          assertEquals(plain, texts);
          seen.add(marks.join());
        }
        assert(seen.size > 1);
        await classify.release();
      },
      "tokens",
    ),
});

Deno.test({
  name: `try shows which of several labels a text has${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(
      ["fear", "hope", "joy"],
      ["text"],
      async (_, browser, folder) => {
        const classify = await load(folder);
        const texts = ["It rains.", "A film that stays."];
        const answers = await classify(texts);
        await classify.release();
        const labelsOf = ({ labels, scores }: typeof answers[number]) =>
          labels!.map((name) => `${name} ${percent(scores[name]!)}`)
            .join(", ") || "no label";
        const [first] = answers;
        await type(browser, "text", texts[0]!);
        await browser.until(
          `document.getElementById("status").textContent.startsWith(${
            JSON.stringify(`${labelsOf(first!)} at rank ${maxRank}, in`)
          })`,
        );
        assertEquals(await cells(browser), [
          ["Label", "Probability"],
          ...Object.entries(first!.scores).sort(([, a], [, b]) => b - a)
            .map(([name, share]) => [name, percent(share)]),
        ]);
        const bold = await browser.evaluate<string[]>(
          `[...document.querySelectorAll("#answers strong")].map((it) => it.textContent)`,
        );
        assertEquals(bold, [...first!.labels!]);
        await type(browser, "text", texts.join("\n"));
        await told(browser, /^2 texts: .* at rank/);
        assertEquals(await cells(browser), [
          ["Text", "Labels"],
          ...texts.map((text, i) => [text, labelsOf(answers[i]!)]),
        ]);
      },
      "multi-label",
    ),
});

Deno.test("try names a stage with an adapter if the pipeline or the stage has none", async () => {
  using project = new CliProject(
    "name: test\nstages: { a: { task: make, with: { text: a } } }\n",
  );
  for (const stage of [[], ["a"]]) {
    const { code, stderr } = await project.call("try", ...stage);
    assertEquals(code, 2);
    assertMatch(stderr, /^"(a|test)" selects no stage that makes an adapter$/m);
  }
});
