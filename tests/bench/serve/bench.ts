/**
 * Times the classification of texts by an exported adapter of MiniLM.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     eval "$(sh tests/onnx/setup.sh)"
 *     DYLORA_MINILM=MODEL DYLORA_GLUE=GLUE deno task bench serve --json
 */
import { join } from "node:path";
import {
  type Arguments,
  EXIT,
  UsageError,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES, PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { bytes } from "../../../lib/cli/terminal/messages.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import exportAdapter from "../../../tasks/export-adapter.ts";
import exportOnnx from "../../../tasks/export-onnx.ts";
import { Browser } from "../../report/chromium.ts";
import { bundled, FileServer } from "../../serve/file_server.ts";
import { randomAdapterFolder } from "../../tasks/random_adapter.ts";
import { runTask, withFolder } from "../../tasks/run_task.ts";
import { benchmark, glueFolder, minilmFolder, peerPython } from "../options.ts";
import type { Measured, Request } from "./measure.ts";

const RANK = 8;
const MODULE = "tests/bench/serve/measure.ts";

/** Programs, by the name of `--only`. */
const PROGRAMS = {
  deno: "lib/serve in Deno, WebAssembly",
  node: "lib/serve in Node.js, onnxruntime-node",
  chromium: "lib/serve in Chromium, WebAssembly",
  "chromium-q8": "the same in 8 bits",
  predict: "deno task predict",
  peft: "transformers and PEFT",
} as const;
type Program = keyof typeof PROGRAMS;

/** What is classified, and by what. */
interface Work {
  readonly folder: string;
  readonly texts: readonly string[];
  readonly model: string;
  /** Exports for PEFT, and in ONNX. */
  readonly exports: Readonly<Record<"peft" | "fp32" | "q8", string>>;
}

/** `deno task bench serve`. */
export const command = benchmark`
  serve

  Time the classification of the validation texts of SST-2 by MiniLM with a LoRA of rank 8, in float32: by lib/serve in Deno, Node.js and Chromium, by predict --in, and by transformers with PEFT. Prints milliseconds from the start of a process or page to the first answer, texts per second afterwards, in batches of 32 (of predict, as a whole process), and what a browser downloads; medians of rounds in turn. WebAssembly computes on one thread. PEFT_PYTHON names the peer's Python, ONNX_JS the folder with onnxruntime-node, DYLORA_MINILM that of all-MiniLM-L6-v2, DYLORA_GLUE that of GLUE's TSV files. Run it on an idle machine.

  Options:
  --only LIST  Programs of ${Object.keys(PROGRAMS).join()} (default: all)
  --texts N  Number of texts (default 872, all)
  --rounds N  Rounds (default 3)
  ${JSON_LINES}

  Examples:
  --json  Time everything, one row per line
  --only deno,peft --texts 100  Compare two programs on fewer texts
`(bench);

async function bench(args: Arguments): Promise<number> {
  const names = programsOf(args);
  const rounds = args.integer("rounds", 1) ?? 3;
  const [, ...lines] = Deno.readTextFileSync(
    join(glueFolder(), "SST-2/dev.tsv"),
  ).trim().split("\n");
  const texts = lines.slice(0, args.integer("texts", 2))
    .map((line) => line.split("\t")[0]!);
  const model = minilmFolder();
  await withFolder(async (folder) => {
    const exports = await exported(folder, model);
    const work = { folder, texts, model, exports };
    const found = new Map<Program, Served[]>();
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        const served = await run[name](work);
        found.set(name, [...found.get(name) ?? [], served]);
      }
    }
    const [reference] = [...found.values()][0]!;
    for (const [name, its] of found) {
      checkSame(its[0]!, reference!, name);
      const row = {
        program: PROGRAMS[name],
        firstMs: median(its.map(({ firstMs }) => firstMs)),
        textsPerSecond: median(its.map((it) => it.textsPerSecond)),
        ...(its[0]!.bytes !== undefined && { bytes: its[0]!.bytes }),
      };
      console.log(
        args.has("json") ? JSON.stringify(row) : [
          row.program.padEnd(40),
          `${Math.round(row.firstMs)} ms`.padStart(10),
          `${row.textsPerSecond.toFixed(1)} texts/s`.padStart(16),
          row.bytes === undefined ? "" : bytes(row.bytes).padStart(10),
        ].join(" "),
      );
    }
  });
  return EXIT.success;
}

/** What a program measured, and the bytes that a browser downloaded. */
type Served = Measured & { readonly bytes?: number };

/** @throws {UsageError} If there is no such program. */
function programsOf(args: Arguments): Program[] {
  const all = Object.keys(PROGRAMS) as Program[];
  return args.value("only")?.split(",").map((name) => {
    const found = all.find((it) => it === name);
    if (found !== undefined) return found;
    throw new UsageError(
      `Invalid value "${name}" for option "--only": expected some of ${all}`,
    );
  }) ?? all;
}

/** Exports of an adapter with random values. */
async function exported(
  folder: string,
  model: string,
): Promise<Work["exports"]> {
  const adapter = await randomAdapterFolder(folder, model, {
    labels: ["negative", "positive"],
    rank: RANK,
    alpha: 2 * RANK,
    maxLength: 128,
  });
  const args = { model, adapter };
  const [fp32, q8] = [
    await runTask(exportOnnx, folder, {}, args),
    await runTask(exportOnnx, folder, { dtype: "q8" }, args),
  ];
  const peft = await runTask(exportAdapter, folder, {}, args);
  return { peft: peft.output, fp32: fp32.output, q8: q8.output };
}

/** @throws {Error} If two programs classify the first text differently. */
function checkSame(own: Served, other: Served, name: Program): void {
  const tolerance = name === "chromium-q8" ? 0.1 : 1e-3;
  const differences = own.probabilities
    .map((it, i) => Math.abs(it - other.probabilities[i]!));
  if (Math.max(...differences) <= tolerance) return;
  throw new Error(
    `${
      PROGRAMS[name]
    } gives ${own.probabilities}, expected ${other.probabilities}`,
  );
}

const run: Readonly<Record<Program, (work: Work) => Promise<Served>>> = {
  deno: async ({ texts, exports }) => {
    const module = new URL("measure.ts", import.meta.url).href;
    const request = { folder: exports.fp32, texts, started: Date.now() };
    const code = `import { measure } from "${module}";
      console.log(JSON.stringify(await measure(${JSON.stringify(request)})));`;
    return JSON.parse(await output([Deno.execPath(), "run", "-A", "-"], code));
  },
  node: async ({ folder, texts, exports }) => {
    const modules = Deno.env.get("ONNX_JS");
    if (modules === undefined) {
      throw new UsageError(
        'ONNX_JS is not set: run eval "$(sh tests/onnx/setup.sh)", or leave out "node" by --only',
      );
    }
    const module = join(folder, "measure.mjs");
    await Deno.writeTextFile(
      module,
      await bundled(MODULE, { platform: "node" }),
    );
    const request = { folder: exports.fp32, texts, started: Date.now() };
    const code = `import { createRequire } from "node:module";
      import { measure } from "file://${module}";
      const require = createRequire("${modules}/package.json");
      const runtime = require("onnxruntime-node");
      console.log(JSON.stringify(await measure(${
      JSON.stringify(request)
    }, { runtime })));`;
    return JSON.parse(await output(["node", "--input-type=module", "-"], code));
  },
  chromium: (work) => inChromium(work, work.exports.fp32),
  "chromium-q8": (work) => inChromium(work, work.exports.q8),
  predict: async ({ folder, texts, model, exports }) => {
    const common = [
      ...[Deno.execPath(), ...PROGRAM, "predict"],
      ...["--adapter", exports.peft, "--model", model],
    ];
    const started = Date.now();
    const text = await output([...common, "--json", texts[0]!]);
    const firstMs = Date.now() - started;
    const { probabilities } = JSON.parse(text);
    const table = join(folder, "texts.tsv");
    const lines = ["sentence", ...texts, ""];
    await Deno.writeTextFile(table, lines.join("\n"));
    const predicted = join(folder, "predicted.tsv");
    const begun = performance.now();
    await output([
      ...[...common, "--in", table, "--out", predicted],
      ...["--text", "sentence"],
    ]);
    const seconds = (performance.now() - begun) / 1000;
    return {
      firstMs,
      textsPerSecond: texts.length / seconds,
      probabilities: Object.values<number>(probabilities),
    };
  },
  peft: async ({ folder, texts, model, exports }) => {
    const path = join(folder, "request.json");
    const script = join(import.meta.dirname!, "../peer/serve.py");
    const request = { model, adapter: exports.peft, texts };
    const text = JSON.stringify({ ...request, started: Date.now() });
    await Deno.writeTextFile(path, text);
    return JSON.parse(
      await output([peerPython(), "-W", "ignore", script, path]),
    );
  },
};

async function inChromium({ texts }: Work, folder: string): Promise<Served> {
  const alias = { "onnxruntime-web": "onnxruntime-web/wasm" };
  const text = await bundled(MODULE, { alias, minify: true });
  await using server = new FileServer({
    "measure.js": { text },
    served: { folder },
  });
  await using browser = await Browser.start();
  const started = Date.now();
  await browser.open(server.address);
  const request: Request = { folder: "served", texts, started };
  const measured = await browser.evaluate<Measured>(
    `(async () => (await import("/measure.js")).measure(${
      JSON.stringify(request)
    }))()`,
  );
  return { ...measured, bytes: server.bytes };
}

/** Standard output of a command that succeeds. */
async function output(
  [program, ...args]: readonly string[],
  input = "",
): Promise<string> {
  const process = new Deno.Command(program!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  await new Blob([input]).stream().pipeTo(process.stdin);
  const { code, stdout } = await process.output();
  if (code !== 0) throw new Error(`"${program}" ended with code ${code}`);
  return new TextDecoder().decode(stdout);
}
