import { status } from "../../scheduler/plan.ts";
import { join } from "../../store/paths.ts";
import { command, invalidValue, UsageError } from "../arguments/arguments.ts";
import { openPipeline } from "../arguments/open_pipeline.ts";
import {
  JSON_LINES,
  KEY_OPTIONS,
  outOf,
  PROJECT,
} from "../arguments/options.ts";
import { sectionsOf } from "../pages/dash_sections.ts";
import { Follower, type StageState } from "../pages/dash_state.ts";
import { openRun } from "../runtime/executor.ts";
import { watchInterrupts } from "../terminal/interrupts.ts";
import { writeLine } from "../terminal/renderer.ts";

/** `deno task dash`: serves a page that follows the runs of a pipeline. */
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
  const { store } = await openPipeline(args, out);
  const follower = new Follower(store, out, async () => {
    const { graph, settings } = await openRun(args);
    return { graph, status: await status(graph, settings) };
  });
  using interrupts = watchInterrupts(() => {});
  const token = crypto.randomUUID();
  const port = args.integer("port", 0) ?? 0;
  if (port > 65_535) {
    throw invalidValue("port", String(port), "expected at most 65535");
  }
  const { signal } = interrupts;
  const onListen = ({ port }: Deno.NetAddr) => {
    const url = `http://127.0.0.1:${port}/${token}/`;
    const text = `${url}\nOpen this page in a browser; press Ctrl-C to stop`;
    writeLine(args, { type: "dash", url }, text);
  };
  try {
    await Deno.serve(
      { hostname: "127.0.0.1", port, signal, onListen },
      (request) => answer(request, token, follower),
    ).finished;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new UsageError(
      `Port ${port} is in use by another program: choose another port with --port`,
    );
  }
  return interrupts.code;
});

/** Headers of every response: nothing from other origins, no framing by them, no caching, no referrer. */
const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Headers of a report: it may run its own scripts, sandboxed from this page. */
const REPORT_HEADERS = {
  ...HEADERS,
  "content-security-policy":
    "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'self'",
};

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
};

/** Answers a request; refuses those without the token, or with the name of another host. */
async function answer(
  request: Request,
  token: string,
  follower: Follower,
): Promise<Response> {
  const { pathname, hostname, searchParams } = new URL(request.url);
  const [, given, ...path] = pathname.split("/");
  const refuse = (status: number, text: string) =>
    new Response(`${text}\n`, { status, headers: HEADERS });
  if (given !== token || !["127.0.0.1", "localhost"].includes(hostname)) {
    return refuse(403, 'Open the address that "deno task dash" has printed');
  }
  if (!["GET", "HEAD"].includes(request.method)) {
    return refuse(405, "This page is read-only");
  }
  const send = (
    content: string | Uint8Array<ArrayBuffer>,
    type: string,
    headers = HEADERS,
  ) =>
    new Response(content, {
      headers: { ...headers, "content-type": TYPES[type]! },
    });
  const asset = async (path: string, type: string) =>
    send(await Deno.readTextFile(join(PROJECT, "lib", path)), type);
  const stage = searchParams.get("stage") ?? "";
  switch (path[0]) {
    case "":
      return await asset("cli/pages/dash_page.html", "html");
    case "dash_page.ts": {
      const script = join(PROJECT, "lib/cli/pages", path[0]);
      const text = await Deno.readTextFile(script);
      const { stripTypeScriptTypes } = await import("node:module");
      return send(stripTypeScriptTypes(text), "js");
    }
    case "page.css":
      return await asset("report/page.css", "css");
    case "state": {
      const state = await follower.state();
      const isWhole = searchParams.has("all");
      const { id = "" } = stageToShow(state.stages, stage) ?? {};
      const sections = sectionsOf(state, follower, id, isWhole);
      return send(JSON.stringify({ ...state, stage: id, sections }), "json");
    }
    case "report": {
      const page = follower.report(stage);
      if (page !== undefined) return send(page, "html", REPORT_HEADERS);
    }
  }
  return refuse(404, "Page not found");
}

/** The stage whose log is shown: the one that the user has chosen, else one that runs, has failed, or is done. */
function stageToShow(stages: readonly StageState[], chosen: string) {
  return stages.find(({ id }) => id === chosen) ??
    stages.find(({ state }) => state === "running") ??
    stages.find(({ state }) => state === "failed") ??
    stages.findLast(({ state }) => state === "done") ?? stages[0];
}
