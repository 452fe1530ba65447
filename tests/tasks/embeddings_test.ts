/**
 * Embeddings of an adapter, as the engine, sentence-transformers, lib/serve and
 * transformers.js give them.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type Embeddings,
  readEmbeddings,
} from "../../lib/artifacts/embeddings.ts";
import { readModel } from "../../lib/artifacts/model.ts";
import type { TargetModules } from "../../lib/engine/models/parameters.ts";
import type { Pooling } from "../../lib/engine/models/pooling.ts";
import { pythonCode } from "../../lib/peft/python.ts";
import { load, ranking } from "../../lib/serve/embedder.ts";
import { load as loadClassifier } from "../../lib/serve/classifier.ts";
import { assertClose, fixture } from "../engine/reference.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";
import { randomAdapterFolder } from "./random_adapter.ts";
import { REFERENCE_TRAINING, referenceAdapter } from "./reference_adapter.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const ONNX_PYTHON = Deno.env.get("ONNX_PYTHON");
const ONNX_JS = Deno.env.get("ONNX_JS");
const F32 = { precision: "f32" };
/** Of different lengths; the last is truncated. */
const TEXTS = [
  "A film that stays.",
  "It rained, and nobody came to see it!",
  "word ".repeat(50),
];
const MAX_LENGTH = 40;

/**
 * A sentence encoder: a folder, and how it is to pool tokens if it does not say
 * so.
 */
interface Encoder {
  readonly folder: string;
  readonly pooling?: Pooling;
  readonly targets: TargetModules;
}

const ENCODERS: readonly Encoder[] = [
  {
    folder: fixture("tiny-bert"),
    pooling: { mode: "cls", normalizes: true },
    targets: ["query", "value"],
  },
  { folder: fixture("tiny-roberta"), targets: "all-linear" },
  {
    folder: fixture("tiny-mpnet"),
    pooling: { mode: "mean", normalizes: false },
    targets: ["q", "v"],
  },
  {
    folder: fixture("tiny-llama"),
    pooling: { mode: "lasttoken", normalizes: true },
    targets: ["q_proj", "v_proj"],
  },
];

const FIELDS = {
  mean: "pooling_mode_mean_tokens",
  cls: "pooling_mode_cls_token",
  lasttoken: "pooling_mode_lasttoken",
};

/**
 * The folder of an encoder, or a copy below another folder that says how it
 * pools tokens.
 */
function modelOf({ folder, pooling }: Encoder, below: string): string {
  if (pooling === undefined) return folder;
  const copy = Deno.makeTempDirSync({ dir: below });
  for (const { name, isFile } of Deno.readDirSync(folder)) {
    if (isFile) Deno.copyFileSync(join(folder, name), join(copy, name));
  }
  const names = pooling.normalizes
    ? ["Transformer", "Pooling", "Normalize"]
    : ["Transformer", "Pooling"];
  const modules = names.map((name, idx) => ({
    idx,
    name: String(idx),
    path: idx === 0 ? "" : `${idx}_${name}`,
    type: `sentence_transformers.models.${name}`,
  }));
  Deno.writeTextFileSync(join(copy, "modules.json"), JSON.stringify(modules));
  Deno.mkdirSync(join(copy, "1_Pooling"));
  const { hidden } = readModel(folder);
  const config = {
    word_embedding_dimension: hidden,
    pooling_mode_mean_tokens: false,
    [FIELDS[pooling.mode]]: true,
  };
  Deno.writeTextFileSync(
    join(copy, "1_Pooling/config.json"),
    JSON.stringify(config),
  );
  return copy;
}

/** An artifact of an adapter with random values for a sentence encoder. */
function savedAdapter(
  folder: string,
  model: string,
  targetModules: TargetModules,
): Promise<string> {
  return randomAdapterFolder(folder, model, {
    problem: "retrieval",
    labels: null,
    maxLength: MAX_LENGTH,
    targetModules,
  });
}

/** Embeddings of the texts by the task embed at a rank. */
async function embedded(
  { run }: EngineStages,
  given: { readonly model: string; readonly adapter: string },
  rank: number,
): Promise<Embeddings> {
  const params = { ...F32, texts: TEXTS, rank };
  return await readEmbeddings(await run("embed", params, given));
}

function codeOf(output: string, language: "js" | "python"): string {
  const card = Deno.readTextFileSync(join(output, "README.md"));
  const [, code] = RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``).exec(card)!;
  return code!.replaceAll('"FOLDER"', JSON.stringify(output));
}

/** The code of pipelines/README.md for sentence-transformers, on a folder. */
function codeOfReadme(output: string): string {
  const readme = Deno.readTextFileSync(
    join(import.meta.dirname!, "../../pipelines/README.md"),
  );
  const [, code] = /```python\n(from sentence_transformers [^]*?)```/
    .exec(readme)!;
  return code!.replace(
    '"out/own-data/take-away@seed=0"',
    JSON.stringify(output),
  );
}

/** What a process prints as its last line, which is JSON. */
async function printed(program: string, args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { HF_HUB_OFFLINE: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, text(stderr));
  return JSON.parse(text(stdout).trim().split("\n").at(-1)!);
}

Deno.test({
  name:
    "SentenceTransformer loads an exported folder, also by the code of pipelines/README.md, and a merged one, and gives the embeddings that embed gives, whatever the pooling",
  ignore: PYTHON === undefined,
  fn: () =>
    withEngineStages(async (stages) => {
      const { run, folder } = stages;
      const encoders = [
        ...ENCODERS,
        ...MINILM === undefined
          ? []
          : [{ folder: MINILM, targets: ["query", "value"] }],
      ];
      const codes: string[] = [];
      const expected: Embeddings[] = [];
      for (const encoder of encoders) {
        const model = modelOf(encoder, folder);
        const adapter = await savedAdapter(folder, model, encoder.targets);
        const given = { model, adapter };
        const own = await embedded(stages, given, 2);
        expected.push(own);
        const exported = await run("export-adapter", { rank: 2 }, given);
        const merged = await run("merge", { rank: 2 }, given);
        const facts = { problem: "retrieval", labels: null, base: model };
        codes.push(
          codeOf(exported, "python"),
          codeOfReadme(exported),
          pythonCode(merged, { ...facts, base: undefined }),
          `${
            pythonCode(exported, facts)
          }\nmodel.max_seq_length = ${MAX_LENGTH}`,
        );
        // An export is read as what PEFT wrote.
        const again = await embedded(
          stages,
          { model, adapter: exported },
          2,
        );
        assertClose(again.values, own.values, 1e-6, "exported");
        const config = JSON.parse(
          Deno.readTextFileSync(join(exported, "adapter_config.json")),
        );
        assertEquals(config.task_type, "FEATURE_EXTRACTION");
        assertEquals(config.modules_to_save, []);
      }
      const request = join(folder, "request.json");
      Deno.writeTextFileSync(request, JSON.stringify({ codes, texts: TEXTS }));
      const script = join(import.meta.dirname!, "sentence_embeddings.py");
      const found: number[][][] = await printed(PYTHON!, [script, request]);
      for (const [i, theirs] of found.entries()) {
        const { values } =
          expected[Math.floor(i * expected.length / codes.length)]!;
        assertClose(theirs.flat(), values, 1e-5, codes[i]!);
      }
    }),
});

Deno.test("embedder.ts gives the embeddings that embed gives, at every rank, and ranks texts by them", () =>
  withEngineStages(async (stages) => {
    const { run, folder } = stages;
    for (const encoder of ENCODERS) {
      const model = modelOf(encoder, folder);
      const adapter = await savedAdapter(folder, model, encoder.targets);
      const given = { model, adapter };
      const exported = await run("export-onnx", { rank: 2 }, given);
      const embed = await load(exported);
      assertEquals(embed.ranks, [1, 2, 3, 4]);
      for (const rank of embed.ranks) {
        const own = await embedded(stages, given, rank);
        const rows = await embed(TEXTS, { rank, batchSize: 2 });
        assertClose(
          rows.flatMap((row) => [...row]),
          own.values,
          1e-4,
          `${encoder.folder}, rank ${rank}`,
        );
      }
      const [query, ...others] = await embed([TEXTS[1]!, ...TEXTS]);
      const [first, second] = ranking(query!, others);
      assertEquals(first!.index, 1);
      assert(Math.abs(first!.cosine - 1) < 1e-6);
      assert(second!.cosine < 1);
      await embed.release();
      await assertRejects(
        () => loadClassifier(exported),
        Error,
        "gives embeddings: load it by embedder.ts",
      );
    }
  }));

Deno.test({
  name:
    "transformers.js embeds by a merged export as its card says, and onnxruntime by the Python of all cards",
  ignore: ONNX_PYTHON === undefined || ONNX_JS === undefined,
  fn: () =>
    withEngineStages(async (stages) => {
      const { run, folder } = stages;
      // Of a text that it truncates, transformers.js drops the last special
      // token.
      const short = TEXTS.slice(0, 2);
      // Of decoders, transformers.js runs those with caches of keys alone.
      for (const encoder of ENCODERS.slice(0, 3)) {
        const model = modelOf(encoder, folder);
        const adapter = await savedAdapter(folder, model, encoder.targets);
        const given = { model, adapter };
        const own = await embedded(stages, given, 2);
        const params = { rank: 2, merged: true };
        const merged = await run("export-onnx", params, given);
        const { mode, normalizes } = encoder.pooling ??
          { mode: "mean", normalizes: false };
        const options = { pooling: mode, normalize: normalizes };
        const shown = `pooling: "${mode}", normalize: ${normalizes}`;
        assertMatch(codeOf(merged, "js"), RegExp(shown));
        const request = join(folder, "request.json");
        Deno.writeTextFileSync(
          request,
          JSON.stringify({
            modules: ONNX_JS,
            task: "feature-extraction",
            folders: [merged],
            texts: short,
            options,
          }),
        );
        const script = join(
          import.meta.dirname!,
          "../onnx/transformers_js.mjs",
        );
        const [found]: number[][][] = await printed("node", [script, request]);
        const ofShort = own.values.slice(0, short.length * own.width);

        assertClose(found!.flat(), ofShort, 1e-4, "transformers.js");
        const served = await run("export-onnx", { rank: 2 }, given);
        for (
          const [output, isNormalized] of [[merged, true], [
            served,
            false,
          ]] as const
        ) {
          const code = `${codeOf(output, "python")}
import json
print(json.dumps((embeddings if "embeddings" in dir() else result).tolist()))`;
          const text = code.replaceAll("A text", TEXTS[0]!);
          const [row]: number[][] = await printed(ONNX_PYTHON!, ["-c", text]);
          const norm = Math.hypot(...row!);
          // What a model for every rank gives is not normalized yet.
          const scale = normalizes && !isNormalized ? norm : 1;
          assertClose(
            row!.map((it) => it / scale),
            own.values.slice(0, own.width),
            1e-4,
            `Python, ${output}`,
          );
        }
      }
    }),
});

Deno.test("embed refuses an adapter of classes, and classify one of embeddings", () =>
  withEngineStages(async ({ run, attempt, folder, given: { model } }) => {
    const classes = await referenceAdapter(folder, REFERENCE_TRAINING);
    const embeddings = await savedAdapter(folder, model, ["query", "value"]);
    const refused = await attempt("embed", { ...F32, texts: TEXTS }, {
      model,
      adapter: classes,
    });
    assertMatch(
      refused.text,
      /^The adapter gives no embeddings, but is for .*: use the task classify, or deno task predict$/,
    );
    const texts = TEXTS.map((text) => ({ text }));
    const other = await attempt("classify", { ...F32, texts }, {
      model,
      adapter: embeddings,
    });
    assertEquals(
      other.text,
      "The adapter gives embeddings: use the task embed",
    );
    const alone = await attempt("export-adapter", {}, { adapter: embeddings });
    assertMatch(
      alone.text,
      /exported with the pooling of its model: connect the model/,
    );
    const output = await run("export-adapter", {}, {
      model,
      adapter: embeddings,
    });
    const card = Deno.readTextFileSync(join(output, "README.md"));
    assertMatch(card, /^library_name: sentence-transformers$/m);
    assertMatch(card, /^pipeline_tag: sentence-similarity$/m);
    assertMatch(card, /rank 4 on query and value, in float32\.$/m);
  }));

Deno.test("export-onnx measures what a smaller type costs the search by embeddings", () =>
  withEngineStages(async ({ run, folder }) => {
    const model = modelOf(ENCODERS[0]!, folder);
    const files = { train: fixture("tiny-e2e/validation.csv") };
    const data = await run("fetch-data", {
      files,
      holdout: 0.3,
      text: "mr",
      positive: "ref",
    });
    const tokens = await run("tokenize", {}, { data, model });
    const adapter = await savedAdapter(folder, model, ["query", "value"]);
    for (const merged of [true, false]) {
      const params = { rank: 2, merged, dtype: "fp16" };
      const given = { model, adapter, tokens };
      const output = await run("export-onnx", params, given);
      const card = Deno.readTextFileSync(join(output, "README.md"));
      const [, before, after] =
        /^On the \d+ examples of the split validation, in percent: accuracy@1 ([\d.]+) \(([\d.]+) in float32\),/m
          .exec(card)!;
      assert(Math.abs(Number(before) - Number(after)) <= 5, card);
    }
  }));
