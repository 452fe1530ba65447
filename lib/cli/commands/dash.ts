import { status } from "../../scheduler/plan.ts";
import { join } from "../../files/paths.ts";
import { command } from "../arguments/arguments.ts";
import { openPipeline } from "../arguments/open_pipeline.ts";
import {
  JSON_LINES,
  KEY_OPTIONS,
  outOf,
  PROJECT,
} from "../arguments/options.ts";
import { pageContent } from "../pages/dash_sections.ts";
import { Follower } from "../pages/dash_state.ts";
import { servePage } from "../pages/page_server.ts";
import { openRun } from "../runtime/executor.ts";
import { interruptible } from "../terminal/interrupts.ts";

export const dashCommand = command`
  dash PIPELINE

  Serve a page that follows the runs of a pipeline, whichever process started them: states of stages, loss curves of trainings, logs, scores by rank as they arrive, and then the report. Start it before, during or after a run, with the same parameters, and again after an edit of what a task declares.

  The page is served on this machine only (127.0.0.1), at an address with a random token, and is read-only.

  Options:
  --port N  Port to listen on (default: any free port)
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke  Print the address of the page, and serve it until Ctrl-C
  glue-mini --profile quick  Follow a run with these parameters
`(async (args) => {
  const out = outOf(args);
  // Reports errors in the arguments and in the file before it serves anything.
  const { store } = await openPipeline(args);
  const follower = new Follower(store, out, async () => {
    const { graph, settings } = await openRun(args);
    return { graph, settings, status: await status(graph, settings) };
  });
  const { lossCurve } = await import("../../report/figure.ts");
  const curve = JSON.stringify(lossCurve());
  const answer = async (name: string, search: URLSearchParams) => {
    const chosen = search.get("stage") ?? "";
    if (name === "report") {
      const body = follower.report(chosen);
      return body && { body, type: ".html", policy: REPORT_POLICY };
    }
    if (name === "curve.json") return { body: curve, type: ".json" };
    if (name !== "state") return undefined;
    const body = JSON.stringify(await pageContent(follower, chosen));
    return { body, type: ".json" };
  };
  const pages = join(PROJECT, "lib/cli/pages");
  const files = {
    "": join(pages, "dash_page.html"),
    "dash_page.ts": join(pages, "dash_page.ts"),
    "page.css": join(PROJECT, "lib/report/page.css"),
    "vega.js": packageFile("vega/runtime"),
    "vega-embed.js": packageFile("vega-embed/runtime"),
  };
  return await interruptible((signal) =>
    servePage(args, "dash", files, signal, answer)
  );
});

/** Path of a file that a name of the import map stands for. */
function packageFile(name: string): string {
  return decodeURIComponent(new URL(import.meta.resolve(name)).pathname);
}

/** Policy of a report: it may run its own scripts, sandboxed from this page. */
const REPORT_POLICY =
  "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'";
