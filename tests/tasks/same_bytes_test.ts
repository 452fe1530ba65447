/**
 * The same training gives the same adapter on one machine, whatever its process
 * has done before and however often it was interrupted.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { PEFT_FILES } from "../../lib/peft/adapter.ts";
import { withEngineStages } from "./engine_stages.ts";

const params = { rank: 8, alpha: 16, epochs: 2, batchSize: 16 };

/** SHA-256 of the files of an adapter. */
async function digestsOf(folder: string): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const file of PEFT_FILES) {
    digests[file] = await digestOf(join(folder, file));
  }
  return digests;
}

Deno.test("train-dylora writes the same bytes in the same process, after another training, in another process, and interrupted and resumed", () =>
  withEngineStages(async (stages) => {
    const { given, folder } = stages;
    const first = await stages.run("train-dylora", params, given);
    const expected = await digestsOf(first);

    const lora = await stages.run("train-lora", params, given);
    const weights = PEFT_FILES.find((it) => it.endsWith(".safetensors"))!;
    assert((await digestsOf(lora))[weights] !== expected[weights]);
    const again = await stages.run("train-dylora", params, given);
    assertEquals(await digestsOf(again), expected, "after another training");

    const { code, output, text } = await stages.sandboxed(
      "train-dylora",
      params,
      given,
    );
    assertEquals(code, 0, text);
    assertEquals(await digestsOf(output), expected, "in another process");

    const checkpoint = await Deno.makeTempDir({ dir: folder });
    const interrupt = new AbortController();
    const attempt = await stages.attempt("train-dylora", params, given, {
      checkpoint,
      signal: interrupt.signal,
      progress: (done) => {
        if (done >= 3) interrupt.abort(new Error("Interrupted"));
      },
    });
    assertEquals(attempt, { code: 1, text: "Interrupted" });
    const log: string[] = [];
    const resumed = await stages.run("train-dylora", params, given, {
      checkpoint,
      log: (line) => log.push(line),
    });
    assertStringIncludes(log.join("\n"), "Resuming after step 3");
    assertEquals(await digestsOf(resumed), expected, "resumed");
  }));
