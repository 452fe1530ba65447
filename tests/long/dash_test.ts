/** The page of `dash` in Chromium. */
import { assert, assertEquals } from "@std/assert";
import { dashProject } from "../cli/pages/dash_project.ts";
import { ServedPage } from "../cli/pages/served_page.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";

const missing = chromiumMissing();
if (missing !== undefined) console.log(`A test of dash is skipped: ${missing}`);

Deno.test({
  name: "dash shows a run in Chromium while it goes on, and then the report",
  ignore: missing !== undefined,
  async fn() {
    using project = dashProject();
    await using dash = await ServedPage.start("dash", project);
    await using browser = await Browser.start();
    await browser.open(dash.url, { width: 400 });
    await browser.until(
      `document.querySelectorAll(".cell.waiting").length === 5`,
    );
    const run = project.call("pipeline", "--jobs", "2", "--cpus", "2");
    await browser.until(
      `document.querySelectorAll(".cell.running").length === 2`,
    );
    await browser.until(
      `document.querySelectorAll("#running .chart svg").length === 2`,
    );
    // A curve is drawn from two points on, and the page asks again once a
    // second.
    const shows = (id: string, text: RegExp) =>
      browser.until(
        `${text}.test(document.getElementById("${id}").textContent)`,
      );
    await shows("running", /train@seed=0.*40\/80 steps, loss 0\.025/);
    await shows("summary", /0 of 5 stages done, 2 running, 3 waiting/);
    await browser.evaluate(
      `document.querySelector('[data-stage="train@seed=1"]').focus()`,
    );
    await browser.press("Enter");
    await browser.until(
      `document.getElementById("stage").value === "train@seed=1"`,
    );
    await shows("log", /step 40/);
    // At a phone's width, only the graph and tables scroll to the side.
    assert(
      await browser.evaluate<boolean>(
        `document.documentElement.scrollWidth <= 400`,
      ),
    );

    project.write("go", "");
    assertEquals((await run).code, 0);
    await browser.until(`document.querySelectorAll(".cell.done").length === 5`);
    await shows("scores", /own: accuracy.*2 of 2 results.*0\.3000.*0\.5500/);
    assertEquals(
      await browser.evaluate(
        `document.querySelectorAll("#curves .chart svg").length`,
      ),
      2,
    );
    await browser.until(`!document.getElementById("report-section").hidden`);
    assertEquals(
      await browser.evaluate(
        `document.getElementById("running-section").hidden`,
      ),
      true,
    );
    // The height that the report tells is that of its page: nothing is left to
    // scroll within it.
    assertEquals(
      await browser.evaluate(
        `(() => {
          const frame = document.getElementById("report");
          frame.style.height = "300px";
          const { paddingTop, paddingBottom } = getComputedStyle(frame);
          return frame.clientHeight - parseFloat(paddingTop) -
            parseFloat(paddingBottom);
        })()`,
      ),
      300,
    );
    assertEquals(browser.errors, []);
    assertEquals(
      browser.requests.filter((it) =>
        !it.startsWith(dash.url) && !it.startsWith("about:") && it !== "data:,"
      ),
      [],
    );
    const shown = await browser.evaluate<string>(
      `document.getElementById("report").src`,
    );
    await browser.open(shown);
    assertEquals(
      await browser.evaluate(`document.getElementById("told").textContent`),
      "The end",
    );
    await browser.open(dash.url);
    await browser.until(`document.querySelectorAll(".cell.done").length === 5`);
    assertEquals(await dash.stop(), 130);
    await browser.until(
      `document.getElementById("problem").textContent.startsWith("dash has stopped")`,
    );
  },
});
