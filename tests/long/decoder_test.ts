import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { callHere, callMain, outWithCode } from "../cli/project.ts";

/** Output folder of both pipelines. */
const own = await outWithCode();
const out = ["--out", own];
const model = ["-S", "model=./fixtures/tiny-llama"];
const data = ["-S", "train=./fixtures/tiny-glue/SST-2/train.tsv"];

Deno.test("pipelines train a decoder on own data, report and export it, and predict classifies by the export", async () => {
  const ran = await callHere(
    ...["pipeline", "own-data", "--profile", "compare", ...model, ...data],
    ...out,
    ...["-S", "rank=2", "-S", "loraRanks=[1,2]", "-S", "maxLength=32"],
    ...["-S", "training.epochs=4", "-S", "training.learningRate=5e-3"],
  );
  assertEquals(ran.code, 0, ran.stdout + ran.stderr);
  const { comparisons: [comparison] } = await json("report/report.json");
  const methods = new Map<string, { rank: number }[]>(
    comparison.methods.map((
      { method, ranks }: { method: string; ranks: { rank: number }[] },
    ) => [method, ranks]),
  );
  for (const method of ["lora-svd", "lora"]) {
    assertEquals(methods.get(method)?.map(({ rank }) => rank), [1, 2], method);
  }
  const config = await json("take-away@seed=0/adapter_config.json");
  assertEquals(config.target_modules, ["q_proj", "v_proj"]);
  assertEquals(config.modules_to_save, ["score"]);

  const texts = ["great fun !", "it is not a bad story ."];
  const probabilities = await Promise.all(
    ["take-away@seed=0", "train-dylora@seed=0"].map(async (stage) => {
      const { code, stderr, json } = await callMain(
        ...["predict", "--adapter", join(own, "own-data", stage)],
        ...["--model", join(own, "own-data/model"), "--json"],
        ...["--rank", `${config.r}`, ...texts],
      );
      assertEquals(code, 0, stderr);
      return json().map(({ probabilities }) => probabilities);
    }),
  );
  assertEquals(probabilities[0], probabilities[1]);
});

Deno.test("pipeline smoke learns the pattern with a decoder", async () => {
  const { code, stdout, stderr } = await callHere(
    ...["pipeline", "smoke", ...model, ...out, "-S", "ranks=[8]"],
  );
  assertEquals(code, 0, stdout + stderr);
  const { ranks } = await json(
    "../smoke/evaluate-dylora@sst2,seed=0/scores.json",
  );
  assertEquals(ranks.length, 8);
  const { accuracy } = ranks.at(-1).metrics;
  assert(accuracy > 0.6, `${accuracy}, chance is 0.5`);
});

// deno-lint-ignore no-explicit-any
async function json(path: string): Promise<any> {
  return JSON.parse(await Deno.readTextFile(join(own, "own-data", path)));
}
