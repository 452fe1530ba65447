import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readModel } from "../../lib/artifacts/model.ts";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import tokenize from "../../tasks/tokenize.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import { assertClose, fixture, tinyEncoders } from "../engine/reference.ts";
import { type Feed, ONNX_PYTHON, onnxruntimeLogits } from "../onnx/peer.ts";
import { randomAdapterFolder } from "./random_adapter.ts";
import { REFERENCE_TRAINING, referenceAdapter } from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

const ONNX_JS = Deno.env.get("ONNX_JS");
const TEXTS = ["A film that stays.", "It rained, and nobody came to see it!"];
/**
 * Transformers.js has no classes for the classification of sequences by
 * decoders.
 */
const names = tinyEncoders.filter((name) => !["llama", "qwen3"].includes(name));
const LABELS = ["bad", "good", "so-so"];
const TRAINING = { ...REFERENCE_TRAINING, labels: LABELS, maxLength: 48 };

Deno.test({
  name:
    "export-onnx --merged writes what transformers.js loads, with the probabilities of onnxruntime on the tokens of tokenize",
  ignore: ONNX_PYTHON === undefined || ONNX_JS === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const models = names.map((name) => fixture(`tiny-${name}`));
      const folders = await Promise.all(models.map(async (model) => {
        const adapter = await savedAdapter(folder, model);
        const params = { merged: true, rank: 3 };
        const given = { model, adapter };
        return (await runTask(exportOnnx, folder, params, given)).output;
      }));
      const expected = await onnxruntimeLogits(
        await Promise.all(folders.map(async (folder) => ({
          path: join(folder, "onnx/model.onnx"),
          feeds: await Promise.all(TEXTS.map((text) => feedOf(folder, text))),
        }))),
      );
      const found = await transformersJs(folders);
      for (const [i, name] of names.entries()) {
        for (const [j, logits] of expected[i]!.entries()) {
          const scores = Object.fromEntries(
            found[i]![j]!.map(({ label, score }) => [label, score]),
          );
          assertClose(
            LABELS.map((label) => scores[label]!),
            sharesOf(logits),
            1e-4,
            `${name}, text ${j}`,
          );
        }
      }
    }),
});

Deno.test("export-onnx writes the adapter of all ranks, and its scale at each", () =>
  withFolder(async (folder) => {
    const model = fixture("tiny-roberta");
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const { output, log } = await runTask(exportOnnx, folder, { rank: 2 }, {
      model,
      adapter,
    });
    const { weights, ...info } = JSON.parse(
      await Deno.readTextFile(join(output, "adapter.json")),
    );
    assertEquals(info, {
      task: "sst2",
      problem: "classification",
      labels: ["LABEL_0", "LABEL_1"],
      maxLength: readModel(model).maxLength,
      rank: 2,
      scales: { 1: 8, 2: 4, 3: 8 / 3, 4: 2 },
    });
    const of = JSON.parse(await Deno.readTextFile(join(output, "model.json")));
    assertEquals(of.weights, weights);
    assertEquals(of.hasData, false);
    assertEquals(
      await Deno.readFile(join(output, "adapter.safetensors")),
      await Deno.readFile(join(adapter, "adapter_model.safetensors")),
    );
    assertEquals(log, ["For every rank, in float32"]);
    const again = await runTask(exportOnnx, folder, { rank: 2 }, {
      model,
      adapter,
    });
    for (const { name } of Deno.readDirSync(output)) {
      assertEquals(
        await Deno.readFile(join(again.output, name)),
        await Deno.readFile(join(output, name)),
        name,
      );
    }
  }));

Deno.test("export-onnx in 8 bits says so in the card, and names the file as transformers.js finds it", () =>
  withFolder(async (folder) => {
    const model = fixture("tiny-bert");
    const adapter = await referenceAdapter(
      folder,
      REFERENCE_TRAINING,
      "bert",
    );
    const { output } = await runTask(exportOnnx, folder, {
      merged: true,
      dtype: "q8",
    }, { model, adapter });
    assert(Deno.statSync(join(output, "onnx/model_quantized.onnx")).isFile);
    const { "transformers.js_config": config, id2label } = JSON.parse(
      await Deno.readTextFile(join(output, "config.json")),
    );
    assertEquals(config, { dtype: "q8" });
    assertEquals(id2label, { 0: "LABEL_0", 1: "LABEL_1" });
    const card = await Deno.readTextFile(join(output, "README.md"));
    assertMatch(card, /^library_name: transformers\.js$/m);
    assertMatch(card, /with weights in 8 bits/);
    assertMatch(card, /pipeline\("text-classification", "FOLDER"\)/);
  }));

for (const problem of ["classification", "multi-label", "tokens"] as const) {
  Deno.test({
    name:
      `the code in the cards of all exports gives the same in JavaScript and in Python, for every rank and merged, ${problem}`,
    ignore: ONNX_PYTHON === undefined,
    fn: () => withFolder((folder) => compareCards(folder, problem)),
  });
}

async function compareCards(
  folder: string,
  problem: SavedProblem,
): Promise<void> {
  const model = fixture("tiny-bert");
  const adapter = await savedAdapter(folder, model, problem);
  const given = { model, adapter };
  const codesOf = async ({ output }: { readonly output: string }) => {
    const card = await Deno.readTextFile(join(output, "README.md"));
    const [js, python] = ["js", "python"].map((language) => {
      const block = RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``);
      const [, code] = block.exec(card)!;
      return code!.replaceAll('"FOLDER"', JSON.stringify(output));
    });
    return { output, js: js!, python: python! };
  };
  const served = await codesOf(
    await runTask(exportOnnx, folder, { rank: 3 }, given),
  );
  const merged = await codesOf(
    await runTask(exportOnnx, folder, { rank: 3, merged: true }, given),
  );
  const [first, second] = await Promise.all(
    [served, merged].map((it) => printed(ONNX_PYTHON!, ["-"], it.python)),
  );
  const logits = first!.match(/-?\d+\.\d+/g)!.map(Number);
  assertClose(
    second!.match(/-?\d+\.\d+/g)!.map(Number),
    logits,
    1e-4,
    "merged",
  );
  const probabilitiesOf = problem === "multi-label" ? sigmoidsOf : sharesOf;
  const shares = Array.from(
    { length: logits.length / LABELS.length },
    (_, i) =>
      probabilitiesOf(logits.slice(LABELS.length * i, LABELS.length * (i + 1))),
  );
  const peft = await codesOf(
    await runTask(exportAdapter, folder, { rank: 3 }, given),
  );
  const own = peft.js.replace('"MODEL"', JSON.stringify(served.output));
  for (const code of [served.js, own]) {
    const text = await printed(Deno.execPath(), ["run", "-A", "-"], code);
    const [, scores] = (problem === "tokens"
      ? /score: ([^,]*),\s+scores/
      : /scores: \{([^}]*)\}/).exec(text)!;
    assertClose(
      scores!.match(/\d\.\d+/g)!.map(Number),
      problem === "tokens"
        ? [(Math.max(...shares[1]!) + Math.max(...shares[2]!)) / 2]
        : shares[0]!,
      1e-4,
      "lib/serve",
    );
  }
  const kind = problem === "tokens" ? "token" : "text";
  assertMatch(merged.js, RegExp(`pipeline\\("${kind}-classification", "`));
  if (problem === "classification" || ONNX_JS === undefined) return;
  const found = await transformersJs(
    [merged.output],
    problem === "tokens" ? "token-classification" : "text-classification",
    problem === "tokens" ? TEXTS : ["A text"],
  );
  if (problem === "multi-label") {
    assertMatch(merged.js, /classify\("A text", \{ top_k: null \}\)/);
    const scores = new Map(
      found[0]![0]!.map(({ label, score }) => [label, score]),
    );
    const all = LABELS.map((label) => scores.get(label)!);
    return assertClose(all, shares[0]!, 1e-4, "transformers.js");
  }
  const { score } = found[0]![0]![0]!;
  assert(score > 0 && score < 1);
}

function sigmoidsOf(logits: readonly number[]): number[] {
  return logits.map((it) => 1 / (1 + Math.exp(-it)));
}

function sharesOf(logits: readonly number[]): number[] {
  const exps = logits.map(Math.exp);
  const sum = exps.reduce((sum, it) => sum + it);
  return exps.map((it) => it / sum);
}

Deno.test("export-onnx measures what a smaller type costs on the tokens, of a merged model and of one for every rank", () =>
  withFolder(async (folder) => {
    const model = fixture("tiny-roberta");
    const { output: data } = await runTask(fetchGlue, folder, {
      task: "sst2",
      source: fixture("tiny-glue"),
    });
    const { output: tokens } = await runTask(tokenize, folder, {
      maxLength: 32,
    }, { data, model });
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    for (const merged of [true, false]) {
      for (const dtype of ["fp16", "q8"] as const) {
        const { output, log } = await runTask(exportOnnx, folder, {
          ...{ merged, dtype },
          rank: 3,
        }, { model, adapter, tokens });
        const card = await Deno.readTextFile(join(output, "README.md"));
        const [, line, before, after] =
          /^(On the \d+ examples of the split validation, in percent: accuracy ([\d.]+) \(([\d.]+) in float32\)\. \d+ classes differ\.)$/m
            .exec(card)!;
        assert(Math.abs(Number(before) - Number(after)) <= 2, line);
        assertEquals(log[0], line);
      }
    }
  }));

Deno.test("export-onnx refuses the adapter of another model", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING, "bert");
    await assertRejects(
      () =>
        runTask(exportOnnx, folder, {}, {
          model: fixture("tiny-roberta"),
          adapter,
        }),
      SyntaxError,
      "The adapter does not fit the model",
    );
  }));

/**
 * What a program prints that reads its code from standard input, in the folder
 * of the project.
 */
async function printed(
  program: string,
  args: readonly string[],
  code: string,
): Promise<string> {
  const process = new Deno.Command(program, {
    args: [...args],
    cwd: join(import.meta.dirname!, "../.."),
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await new Blob([code]).stream().pipeTo(process.stdin);
  const output = await process.output();
  const [text, errors] = [output.stdout, output.stderr].map((it) =>
    new TextDecoder().decode(it)
  );
  assertEquals(output.code, 0, errors);
  return text!;
}

type SavedProblem = "classification" | "multi-label" | "tokens";

/** An artifact of an adapter with random values. */
function savedAdapter(
  folder: string,
  model: string,
  problem: SavedProblem = "classification",
): Promise<string> {
  return randomAdapterFolder(folder, model, {
    problem,
    labels: LABELS,
    maxLength: TRAINING.maxLength,
  });
}

/** A text as inputs of a model, by the tokenizer of tokenize. */
async function feedOf(folder: string, text: string): Promise<Feed> {
  const { architecture } = readModel(folder);
  const tokenizer = await ModelTokenizer.load(
    folder,
    tokenizerDefaults(architecture),
    TRAINING.maxLength,
  );
  const { ids, types } = tokenizer.encode(text);
  const shape = [1, ids.length];
  const tensor = (values: readonly number[]) => ({
    shape,
    values: Int32Array.from(values),
  });
  return {
    input_ids: tensor(ids),
    token_type_ids: tensor(types),
    attention_mask: tensor(ids.map(() => 1)),
  };
}

async function transformersJs(
  folders: readonly string[],
  task = "text-classification",
  texts: readonly string[] = TEXTS,
): Promise<{ label: string; score: number }[][][]> {
  const request = await Deno.makeTempFile();
  const text = JSON.stringify({
    modules: ONNX_JS,
    task,
    folders,
    texts,
  });
  await Deno.writeTextFile(request, text);
  const script = join(import.meta.dirname!, "../onnx/transformers_js.mjs");
  const { code, stdout, stderr } = await new Deno.Command("node", {
    args: [script, request],
  }).output();
  await Deno.remove(request);
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(
    new TextDecoder().decode(stdout).trim().split("\n").at(-1)!,
  );
}
