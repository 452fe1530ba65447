import { assert, assertEquals } from "@std/assert";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { join } from "node:path";
import { pythonCode } from "../../lib/peft/python.ts";
import { readModel } from "../../lib/artifacts/model.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import { callMain } from "../cli/project.ts";
import { classifierFolder } from "./classifier_folder.ts";
import { randomAdapterFolder } from "./random_adapter.ts";
import { REFERENCE_TRAINING, referenceAdapter } from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MINILM = Deno.env.get("DYLORA_MINILM");
const fixtures = join(import.meta.dirname!, "../../fixtures");
const TEXTS = ["great !", "it is not a bad story , perhaps ."];

/** Models, and the classes and the problem of the adapter on each. */
const CASES: readonly (readonly [
  model: string,
  labels: readonly string[] | null,
  problem: "classification" | "regression" | "tokens" | "multi-label",
])[] = [
  [join(fixtures, "tiny-roberta"), ["bad", "good"], "classification"],
  [join(fixtures, "tiny-bert"), ["no", 'may "be"', "yes"], "classification"],
  [join(fixtures, "tiny-distilbert"), ["bad", "good"], "classification"],
  [join(fixtures, "tiny-deberta"), null, "regression"],
  [join(fixtures, "tiny-llama"), ["no", "maybe", "yes"], "classification"],
  [join(fixtures, "tiny-bert"), ["O", "B-x", "I-x"], "tokens"],
  [join(fixtures, "tiny-roberta"), ["joy", "fear", "hope"], "multi-label"],
  ...(MINILM === undefined
    ? []
    : [[MINILM, ["bad", "good"], "classification"] as const]),
];

Deno.test({
  name:
    "PEFT loads an exported folder by its model card, by the code of pipelines/README.md and by that of a run, from any folder and for any classes, and computes what predict computes",
  ignore: PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const root = join(import.meta.dirname!, "../..");
      const [, readme] = /```python\n([^]*?)```/.exec(
        Deno.readTextFileSync(join(root, "pipelines/README.md")),
      )!;
      const folders = [];
      const exported: string[] = [];
      const cases = [
        ...CASES,
        [
          classifierFolder(folder, join(fixtures, "tiny-roberta"), 2),
          ["entailment", "neutral", "contradiction"],
          "classification",
        ] as (typeof CASES)[number],
      ];
      for (const [model, labels, problem] of cases) {
        const adapter = await randomAdapterFolder(folder, model, {
          problem,
          labels: labels && [...labels],
          targetModules: "all-linear",
        });
        const { output } = await runTask(exportAdapter, folder, { rank: 2 }, {
          adapter,
          model,
        });
        const card = Deno.readTextFileSync(join(output, "README.md"));
        const [, code] = /```python\n([^]*?)```/.exec(card)!;
        exported.push(output);
        folders.push({
          codes: [
            code!.replaceAll('"FOLDER"', JSON.stringify(output)),
            ...problem === "classification" || problem === "regression"
              ? [readme!.replace("out/which-rank/take-away@seed=0", output)]
              : [],
            pythonCode(output, {
              ...{ problem, labels, base: model, hasOtherClasses: true },
            }),
          ],
          texts: TEXTS,
        });
      }
      const theirs = await load<
        { logits: number[]; classes: string[]; difference: number }
      >(folder, { folders });
      for (const [i, [, labels, problem]] of cases.entries()) {
        const { logits, classes, difference } = theirs[i]!;
        if (labels !== null) assertEquals(classes, labels);
        assertEquals(difference, 0);
        // Predictions of tokens: token_predictions_test.ts.
        if (problem === "tokens") continue;
        const { code, stderr, json } = await callMain(
          "predict",
          "--adapter",
          exported[i]!,
          "--json",
          ...TEXTS,
        );
        assertEquals(code, 0, stderr);
        const outputs = labels?.length ?? 1;
        for (const [row, { probabilities, score, label }] of json().entries()) {
          const own = logits.slice(row * outputs, (row + 1) * outputs);
          if (labels === null) {
            assert(Math.abs(score - own[0]!) < 1e-4, `${score}, ${own}`);
            continue;
          }
          const sum = own.reduce((sum, logit) => sum + Math.exp(logit), 0);
          const isMultiLabel = problem === "multi-label";
          for (const [id, name] of labels.entries()) {
            const expected = isMultiLabel
              ? 1 / (1 + Math.exp(-own[id]!))
              : Math.exp(own[id]!) / sum;
            assert(
              Math.abs(probabilities[name] - expected) < 1e-4,
              `${name}: ${probabilities[name]}, ${expected}`,
            );
          }
          const [likeliest] = labels
            .toSorted((a, b) => probabilities[b] - probabilities[a]);
          assertEquals(label, isMultiLabel ? null : likeliest);
        }
      }
    }),
});

const CASED = {
  type: "BertNormalizer",
  clean_text: true,
  handle_chinese_chars: false,
  strip_accents: true,
  lowercase: false,
};
const PREFIXED = {
  type: "ByteLevel",
  add_prefix_space: true,
  trim_offsets: true,
  use_regex: true,
};
const PAIRS = [["The FILM, café 你好!", "is great"], ["a", "B"]] as const;

/**
 * Models, changes of their `tokenizer.json`, and their `tokenizer_config.json`,
 * if they have one.
 */
const TOKENIZERS: readonly (readonly [
  name: string,
  settings: object,
  config?: object,
])[] = [
  ["bert", { normalizer: CASED }],
  ["bert", { normalizer: CASED }, { tokenizer_class: "BertTokenizerFast" }],
  [
    "bert",
    { normalizer: CASED },
    {
      tokenizer_class: "PreTrainedTokenizerFast",
      do_lower_case: true,
      pad_token: "[PAD]",
    },
  ],
  ["bert", {}, { do_lower_case: false, model_input_names: ["input_ids"] }],
  ["distilbert", { normalizer: CASED }],
  ["electra", { normalizer: CASED }],
  ["mpnet", { normalizer: CASED }],
  ["roberta", { pre_tokenizer: PREFIXED }],
  ["modernbert", {}, { tokenizer_class: "BertTokenizer" }],
  ["llama", {}],
  ["qwen3", {}, { padding_side: "left", pad_token: "<|endoftext|>" }],
];

Deno.test({
  name:
    "AutoTokenizer gives the tokens and token types of ModelTokenizer in exported and merged folders, whatever the model's files leave out",
  ignore: PYTHON === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const tokenizers = [];
      const expected = [];
      for (const [name, settings, config] of TOKENIZERS) {
        const own = join(fixtures, `tiny-${name}`);
        const model = await Deno.makeTempDir({ dir: folder });
        for (const file of ["config.json", "model.safetensors"]) {
          await Deno.copyFile(join(own, file), join(model, file));
        }
        const sound = Deno.readTextFileSync(join(own, "tokenizer.json"));
        Deno.writeTextFileSync(
          join(model, "tokenizer.json"),
          JSON.stringify({ ...JSON.parse(sound), ...settings }),
        );
        if (config) {
          Deno.writeTextFileSync(
            join(model, "tokenizer_config.json"),
            JSON.stringify(config),
          );
        }
        const { architecture } = readModel(model);
        const tokenizer = await ModelTokenizer.load(
          model,
          tokenizerDefaults(architecture),
          64,
        );
        const encoded = PAIRS.map(([text, pair]) =>
          tokenizer.encode(text, pair)
        );
        const adapter = await referenceAdapter(
          folder,
          REFERENCE_TRAINING,
          name,
        );
        for (const task of [exportAdapter, merge]) {
          const { output } = await runTask(task, folder, {}, {
            adapter,
            model,
          });
          tokenizers.push(output);
          expected.push({
            ids: encoded.map(({ ids }) => ids),
            types: encoded.map(({ types }) => types),
          });
        }
      }
      assertEquals(
        await load(folder, { tokenizers, pairs: PAIRS }),
        expected,
      );
    }),
});

async function load<T>(folder: string, request: object): Promise<T[]> {
  const path = join(folder, "request.json");
  await Deno.writeTextFile(path, JSON.stringify(request));
  const { code, stdout, stderr } = await new Deno.Command(PYTHON!, {
    args: [join(import.meta.dirname!, "exported_folder.py"), path],
    cwd: folder,
    env: { HF_HUB_OFFLINE: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, text(stderr));
  return JSON.parse(text(stdout).trim().split("\n").at(-1)!);
}
