import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "node:path";
import { Arguments } from "../../lib/cli/arguments/arguments.ts";
import { PROJECT } from "../../lib/cli/arguments/options.ts";
import { startTextWriter } from "../../lib/cli/pages/text_writer.ts";
import { heldEngine } from "../../lib/cli/runtime/engine.ts";
import { procFile } from "../../lib/scheduler/executors/local.ts";
import { hasLandlock } from "../../lib/scheduler/landlock.ts";
import { fixture } from "../engine/reference.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";
import { randomAdapterFolder } from "../tasks/random_adapter.ts";
import { REFERENCE_TRAINING } from "../tasks/reference_adapter.ts";
import { withFolder } from "../tasks/run_task.ts";
import { withEnvironment } from "../environment.ts";
import { copiedStages } from "../cli/copied_stages.ts";
import { ServedPage } from "../cli/pages/served_page.ts";
import { until } from "../until.ts";

const MODEL = fixture("tiny-llama");
const { rank } = REFERENCE_TRAINING;
const missing = chromiumMissing();
const suffix = missing === undefined ? "" : ` (skipped: ${missing})`;

/** Ids of the processes that a process has started. */
function childrenOf(pid: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((it) =>
      procFile(it, "stat").split(") ")[1]?.split(" ")[1] === `${pid}`
    );
}

/**
 * Calls a function with the folder of an adapter with random values that writes
 * texts.
 */
const withAdapter = (body: (adapter: string) => Promise<void>) =>
  withFolder(async (folder) => {
    const adapter = await randomAdapterFolder(folder, MODEL, {
      problem: "language",
      labels: null,
    });
    await body(adapter);
  });

/** Calls a function with the page of such an adapter. */
const withPage = (body: (page: ServedPage) => Promise<void>) =>
  withAdapter(async (adapter) => {
    using project = await copiedStages({ model: MODEL, train: adapter });
    await using page = await withEnvironment(
      { UNDECLARED: "1" },
      () => ServedPage.start("try", project),
    );
    await body(page);
  });

const written = (page: ServedPage, text: string, rank: number) =>
  fetch(`${page.url}written?${new URLSearchParams({ text, rank: `${rank}` })}`);

const linesOf = async (response: Response) =>
  (await response.text()).trimEnd().split("\n").map((it) => JSON.parse(it));

Deno.test("try serves what a confined process writes after a text, token by token, a text ends the one before, and its end the server", () =>
  withPage(async (page) => {
    const about = await page.ask("about.json");
    assertEquals([about.stage, about.ranks.at(-1)], ["train", rank]);
    const before = await written(page, "the film", rank);
    const lines = await linesOf(await written(page, "the film", rank));
    assertEquals(lines.at(-1), { id: 2, isDone: true });
    assert(lines.length > 3);
    assert((await linesOf(before).catch(() => [])).length < lines.length);
    const texts = lines.slice(0, -1).map(({ written }) => written);
    assert(texts.at(-1).length > texts[0].length);
    const [problem] = await linesOf(await written(page, "", rank));
    assertStringIncludes(problem.problem, "Prompt 1 is empty");
    assertEquals((await written(page, "a", rank + 1)).status, 404);
    const script = await fetch(`${page.url}page.js`);
    assertStringIncludes(await script.text(), "Text to continue");
    const other = await fetch(`${page.url}constructor`);
    assertEquals([other.status, await other.text()], [404, "Page not found\n"]);

    const [writer] = childrenOf(page.process.pid);
    const said = (name: string) =>
      Deno.readTextFileSync(`/proc/${writer}/${name}`).split("\0");
    const [read] = said("cmdline").filter((it) =>
      it.startsWith("--allow-read")
    );
    assertStringIncludes(read!, `,${join(PROJECT, "lib")},`);
    assertEquals(read!.split(/[=,]/).includes(PROJECT), false);
    assertEquals(said("environ").filter((it) => /^UNDECLARED/.test(it)), []);
    if (hasLandlock() && said("cmdline").includes("--allow-ffi")) {
      assertMatch(said("status")[0]!, /^NoNewPrivs:\s+1$/m);
    }
    Deno.kill(writer!, "SIGKILL");
    const stderr = await new Response(page.process.stderr).text();
    assertStringIncludes(stderr, "writes texts has ended: SIGKILL");
    assertEquals((await page.process.status).code, 1);
  }));

Deno.test({
  name:
    `try shows in the browser what is written as it comes, at the rank of the slider${suffix}`,
  ignore: missing !== undefined,
  fn: () =>
    withPage(async (page) => {
      await using browser = await Browser.start();
      await browser.open(page.url, { width: 400 });
      const told = (text: RegExp) =>
        browser.until(
          `${text}.test(document.getElementById("status").textContent)`,
        );
      await told(/^Enter a text$/);
      await browser.evaluate(`{
        globalThis.shown = [];
        const answer = document.querySelector("p[style]");
        // Several changes may come together.
        new MutationObserver((changes) => shown.push(...changes
          .flatMap(({ addedNodes }) => [...addedNodes])
          .map((it) => it.textContent)))
          .observe(answer, { childList: true });
        document.getElementById("text").select();
      }`);
      await browser.type("the film");
      for (const at of [rank, rank - 1]) {
        if (at < rank) {
          await browser.press("Tab");
          await browser.evaluate("shown = []");
          await browser.press("ArrowLeft");
        }
        await told(RegExp(`^Wrote \\d+ tokens at rank ${at}, in [\\d.]+ s$`));
        const shown = await browser.evaluate<string[]>("shown");
        const lines = await linesOf(await written(page, "the film", at));
        assertEquals(shown.at(-1), lines.at(-2).written);
        assert(new Set(shown).size > 3, shown.join("\n"));
      }
      assertEquals(browser.errors, []);
      const foreign = browser.requests.filter((it) => !it.startsWith(page.url));
      assertEquals(foreign, []);
    }),
});

Deno.test("startTextWriter() goes on with a text when the one before, which it ended, is no longer read", () =>
  withAdapter(async (adapter) => {
    const { signal } = new AbortController();
    const asked = new Arguments([], new Map([["engine", ["tensorflow"]]]));
    using held = await heldEngine(asked, signal);
    await held.engine.prepare();
    const given = { model: MODEL, adapter };
    const folder = dirname(adapter);
    await using writer = startTextWriter(held, given, folder, signal);
    await writer.ranks;
    const before = writer.write("the film", rank);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    let text = "";
    const reading = writer.write("the film", rank)
      .pipeThrough(new TextDecoderStream())
      .pipeTo(new WritableStream({ write: (part) => void (text += part) }));
    await before.cancel();
    await until(
      () => text.includes('{"id":2,"isDone":true}'),
      "the second text is written",
    );
    await reading;
  }));
