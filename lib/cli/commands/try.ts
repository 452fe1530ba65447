import type { Report } from "../../report/report.ts";
import type { About } from "../../serve/page.ts";
import { entriesOf, removeFolder } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import { command } from "../arguments/arguments.ts";
import { JSON_LINES, KEY_OPTIONS, PROJECT } from "../arguments/options.ts";
import { fileContent, POLICY, servePage } from "../pages/page_server.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { dataOf, textColumns } from "./pipeline_outcome.ts";
import { runAlone } from "./run_alone.ts";
import { adapterStage } from "./stage_result.ts";

/** `deno task try`: serves a page that classifies texts in the browser. */
export const tryCommand = command`
  try PIPELINE [STAGE]

  Serve a page that classifies texts as you type them, at any rank of an adapter: first at the one that the report of the pipeline recommends. The browser computes, with the model in ONNX and lib/serve, and needs no network.

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
  const found = await adapterStage(args, ["adapter"], true);
  const { graph, stage, model, openReported } = found;
  const data = dataOf(stage, graph);
  const folder = Deno.makeTempDirSync({ prefix: "try-" });
  using opened = new DisposableStack();
  opened.defer(() => removeFolder(folder));
  return await interruptible(async (signal) => {
    using results = await openReported({ model, data });
    const { lastingPaths, inputs: { report, ...inputs } } = results;
    const run = { params: {}, inputs, lastingPaths, folder, signal };
    const exported = await runAlone(args, "export-onnx", run);
    const about: About = {
      pipeline: graph.pipeline,
      stage: stage.id,
      columns: inputs.data === undefined ? [] : textColumns(inputs.data),
      ...(report !== undefined && { recommended: rankFor(stage.id, report) }),
    };
    Deno.writeTextFileSync(join(folder, "about.json"), JSON.stringify(about));
    const { build, stop } = await import("esbuild");
    // lib/serve and onnxruntime-web without WebGPU, as one file.
    await build({
      entryPoints: [join(PROJECT, "lib/serve/page.ts")],
      alias: { "onnxruntime-web": "onnxruntime-web/wasm" },
      bundle: true,
      format: "esm",
      outfile: join(folder, "page.js"),
      absWorkingDir: PROJECT,
      logLevel: "silent",
    }).finally(() => stop());
    const files: Readonly<Record<string, string>> = {
      "": join(PROJECT, "lib/serve/page.html"),
      "page.css": join(PROJECT, "lib/report/page.css"),
      "about.json": join(folder, "about.json"),
      "page.js": join(folder, "page.js"),
      [WASM]: join(PROJECT, "node_modules/onnxruntime-web/dist", WASM),
      ...Object.fromEntries(
        entriesOf(exported)
          .map(({ name }) => [`model/${name}`, join(exported, name)]),
      ),
    };
    await servePage(args, "try", async (path) => {
      const name = path.join("/");
      if (!Object.hasOwn(files, name)) return undefined;
      return { ...await fileContent(files[name]!), policy: WASM_POLICY };
    }, signal);
  });
});

/** The rank that a report recommends for what a stage has trained; undefined if it says that nothing was learnt, or recommends several. */
function rankFor(stage: string, folder: string): number | undefined {
  const file = join(folder, "report.json");
  const { comparisons }: Report = JSON.parse(Deno.readTextFileSync(file));
  const [rank, ...others] = new Set(
    comparisons.filter(({ verdict }) => verdict?.kind !== "nothing-learnt")
      .flatMap(({ methods }) => methods)
      .filter(({ trainings }) => trainings.some((it) => it.stage === stage))
      .flatMap(({ recommendation }) => recommendation?.rank ?? []),
  );
  return others.length === 0 ? rank : undefined;
}

/** Where onnxruntime-web looks for it. */
const WASM = "ort-wasm-simd-threaded.wasm";

const WASM_POLICY = POLICY.replace("'self'", "'self' 'wasm-unsafe-eval'");
