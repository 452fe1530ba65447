import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import fetchModel from "../../tasks/fetch-model.ts";
import { runTask, withFolder } from "./run_task.ts";

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
    await Deno.writeTextFile(join(folder, "vocab.txt"), "");
    assertIsError(
      await assertRejects(fetch),
      Error,
      /no "tokenizer.json"\n.*AutoTokenizer/,
    );
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
      /config.json".*"gpt2" is not supported; expected "bert" or "roberta"/,
    );
    await Deno.writeTextFile(config, text);
    await Deno.truncate(join(folder, "model.safetensors"), 5000);
    assertIsError(
      await assertRejects(fetch),
      Error,
      /model.safetensors" as safetensors: .*truncated/,
    );
  }));
