import { assertEquals, assertRejects } from "@std/assert";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { tokenizerDigest } from "../../lib/artifacts/tokenizer.ts";
import {
  readFittingTokens,
  readTokensInfo,
} from "../../lib/artifacts/tokens.ts";
import tokenize from "../../tasks/tokenize.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import { tinyEncoders } from "../engine/reference.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

Deno.test("tokenizerDigest() is the digest of tokenizer.json if the other files change nothing", async () => {
  for (const name of tinyEncoders) {
    // Its class gives no token types, although the model has them.
    if (name === "albert") continue;
    const model = join(fixtures, `tiny-${name}`);
    assertEquals(
      await tokenizerDigest(model),
      await digestOf(join(model, "tokenizer.json")),
      name,
    );
  }
});

Deno.test("tokenizerDigest() depends on the configuration of the tokenizer where token ids or types do", () =>
  withFolder(async (folder) => {
    const own = join(fixtures, "tiny-bert");
    for (const name of ["config.json", "tokenizer.json"]) {
      await Deno.copyFile(join(own, name), join(folder, name));
    }
    const path = join(folder, "tokenizer_config.json");
    const digest = async (config: object, problem?: string) => {
      await Deno.writeTextFile(path, JSON.stringify(config));
      return await tokenizerDigest(folder, problem);
    };
    const same = await digest({});
    // Texts to write depend on more.
    const written = [{}, { chat_template: "a" }, { eos_token: "[SEP]" }];
    const digests = [same];
    for (const config of written) {
      digests.push(await digest(config, "language"));
      assertEquals(await digest(config, "classification"), same);
    }
    assertEquals(new Set(digests).size, 1 + written.length);
    for (
      const config of [
        { do_lower_case: true, strip_accents: null },
        { add_prefix_space: true, model_max_length: 9 },
        { truncation_side: "right" },
        { tokenizer_class: "BertTokenizerFast" },
        { tokenizer_class: "PreTrainedTokenizerFast", do_lower_case: false },
        { model_input_names: ["input_ids", "token_type_ids"] },
      ]
    ) assertEquals(await digest(config), same, JSON.stringify(config));
    const found = new Set([same]);
    const others = [
      { do_lower_case: false },
      { strip_accents: false },
      { tokenize_chinese_chars: false },
      { truncation_side: "left" },
      { model_input_names: ["input_ids"] },
    ];
    for (const config of others) found.add(await digest(config));
    assertEquals(found.size, 1 + others.length);
    await Deno.remove(path);
    assertEquals(await tokenizerDigest(folder), same);
  }));

Deno.test("Tokens do not fit a model whose tokenizer has another configuration, with the same tokenizer.json", () =>
  withFolder(async (folder) => {
    const own = join(fixtures, "tiny-bert");
    const model = join(folder, "model");
    cpSync(own, model, { recursive: true });
    const { output: data } = await runTask(fetchGlue, folder, {
      task: "sst2",
      source: join(fixtures, "tiny-glue"),
      limit: { train: 4, validation: 4 },
    }, {});
    const { output: tokens } = await runTask(tokenize, folder, {}, {
      data,
      model,
    });
    const info = await readTokensInfo(tokens);
    assertEquals(await readFittingTokens(tokens, own), info);
    const path = join(model, "tokenizer_config.json");
    const config = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...config, do_lower_case: false }),
    );
    await assertRejects(
      () => readFittingTokens(tokens, model),
      Error,
      "made by a different tokenizer",
    );
    const { output: others } = await runTask(tokenize, folder, {}, {
      data,
      model,
    });
    await readFittingTokens(others, model);
    await assertRejects(
      () => readFittingTokens(others, own),
      Error,
      "made by a different tokenizer",
    );
  }));
