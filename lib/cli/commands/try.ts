import type { About } from "../../serve/rank_page.ts";
import { entriesOf, removeFolder } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import { type Arguments, command } from "../arguments/arguments.ts";
import { JSON_LINES, KEY_OPTIONS, PROJECT } from "../arguments/options.ts";
import { servePage } from "../pages/page_server.ts";
import { startTextWriter } from "../pages/text_writer.ts";
import { heldEngine } from "../runtime/engine.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { dataOf, datasetInfo, headOf } from "./pipeline_outcome.ts";
import { runAlone } from "./run_alone.ts";
import { adapterStage, recommendedFor } from "./stage_result.ts";

export const tryCommand = command`
  try PIPELINE [STAGE]

  Serve a page that classifies texts as you type them, ranks them by a query, or writes what follows them, at any rank of an adapter: first at the one that the report of the pipeline recommends. The browser computes, with the model in ONNX and lib/serve, and needs no network; texts are written by a process of this machine.

  STAGE makes an adapter, as trainings do, and has run with the same parameters (-S, --profile) and engine; by default, it is the first one of the pipeline that does, and whose adapter no other is made of.

  The page is served on this machine only (127.0.0.1), at an address with a random token.

  Options:
  --port N  Port to listen on (default: any free port)
  ${KEY_OPTIONS}
  ${JSON_LINES}

  Examples:
  smoke  Print the address of the page, and serve it until Ctrl-C
  glue-mini train-dylora@mrpc,seed=0  Choose the adapter, here one for pairs of texts
`(async (args) => {
  const adapter = await adapterStage(args, ["adapter"]);
  const { graph, stage, model, openReported } = adapter;
  const data = dataOf(stage, graph);
  const folder = Deno.makeTempDirSync({ prefix: "try-" });
  using opened = new DisposableStack();
  opened.defer(() => removeFolder(folder));
  return await interruptible(async (signal) => {
    using results = await openReported({ model, data });
    const { lastingPaths, inputs: { report, ...inputs } } = results;
    const recommended = report === undefined
      ? undefined
      : await recommendedFor(stage.id, report, inputs.adapter!);
    const about: About = {
      pipeline: graph.pipeline,
      stage: stage.id,
      columns: inputs.data === undefined
        ? []
        : datasetInfo(inputs.data).columns,
      ...(recommended !== undefined && { recommended }),
    };
    const head = await headOf(inputs.adapter!);
    if (head === "language") {
      const artifacts = { model: inputs.model!, adapter: inputs.adapter! };
      return await serveWriting(args, artifacts, about, folder, signal);
    }
    const run = { params: {}, inputs, lastingPaths, folder, signal };
    const exported = await runAlone(args, "export-onnx", run);
    const script = head === "embedding" ? "search_page.ts" : "page.ts";
    const files = {
      ...await pageFiles(folder, about, script),
      [WASM]: join(PROJECT, "node_modules/onnxruntime-web/dist", WASM),
      ...Object.fromEntries(
        entriesOf(exported)
          .map(({ name }) => [`model/${name}`, join(exported, name)]),
      ),
    };
    await servePage(args, "try", files, signal);
  });
});

/**
 * Serves the page of an adapter that writes texts, which a process of this
 * machine computes.
 */
async function serveWriting(
  args: Arguments,
  artifacts: { readonly model: string; readonly adapter: string },
  about: About,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  using held = await heldEngine(args, signal);
  await held.engine.prepare();
  await using writer = startTextWriter(held, artifacts, folder, signal);
  const ranks = await writer.ranks;
  const files = await pageFiles(folder, { ...about, ranks }, "writing_page.ts");
  const ended = AbortSignal.any([signal, writer.ended]);
  await servePage(args, "try", files, ended, (name, search) => {
    const rank = Number(search.get("rank"));
    if (name !== "written" || !ranks.includes(rank)) return undefined;
    return { body: writer.write(search.get("text") ?? "", rank), type: "" };
  });
  if (!signal.aborted) writer.ended.throwIfAborted();
}

/** Files of a page by their names below its address, "" for the page itself. */
async function pageFiles(
  folder: string,
  about: object,
  script: string,
): Promise<Record<string, string>> {
  Deno.writeTextFileSync(join(folder, "about.json"), JSON.stringify(about));
  const { build, stop } = await import("esbuild");
  // A script of lib/serve, and if it needs it onnxruntime-web without WebGPU,
  // as one file.
  await build({
    entryPoints: [join(PROJECT, "lib/serve", script)],
    alias: { "onnxruntime-web": "onnxruntime-web/wasm" },
    bundle: true,
    format: "esm",
    outfile: join(folder, "page.js"),
    absWorkingDir: PROJECT,
    logLevel: "silent",
  }).finally(() => stop());
  return {
    "": join(PROJECT, "lib/serve/page.html"),
    "page.css": join(PROJECT, "lib/report/page.css"),
    "about.json": join(folder, "about.json"),
    "page.js": join(folder, "page.js"),
  };
}

/** Where onnxruntime-web looks for it. */
const WASM = "ort-wasm-simd-threaded.wasm";
