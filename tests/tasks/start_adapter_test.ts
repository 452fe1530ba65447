import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { fromPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { readAdapter } from "../../lib/artifacts/adapter.ts";
import { readTraining } from "../../lib/artifacts/training.ts";
import { startFrom } from "../../lib/stages/train_adapter.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
} from "../engine/reference.ts";
import { withEngineStages } from "./engine_stages.ts";
import { REFERENCE_TRAINING, referenceTensors } from "./reference_adapter.ts";

const baseModel = { name: "a/b", revision: null };
const TRAINING = { ...REFERENCE_TRAINING, labels: ["no", "yes"] };

for (const family of ["bert", "roberta"] as const) {
  Deno.test(`startFrom() carries the adapters over and leaves the head of three classes fresh, ${family}`, () => {
    const { config, figures } = openReference(family);
    const layout = parameterLayout(config, 4, 3);
    const random = seededRandom(0, "init");
    const fresh = initialParameters(layout, undefined, random);
    const tensors = referenceTensors(family);
    const values = startFrom(
      { baseModel: undefined, training: TRAINING, tensors },
      fresh,
      { config, layout },
      { ...TRAINING, baseModel },
    );
    const { adapterSize } = layout;
    const carried = fromPeftTensors(
      (name) => figures.floats(`adapter.${name}`),
      parameterLayout(config, 4, 2),
      family,
    );
    assertSameBits(values.slice(0, adapterSize), carried.slice(0, adapterSize));
    assertSameBits(values.slice(adapterSize), fresh.slice(adapterSize));
  });
}

Deno.test("startFrom() names another rank, alpha, scaling and model", () => {
  const { config } = openReference("roberta");
  const start = (
    family: string,
    rank: number,
    alpha: number,
    { name = "a/b", scaling = TRAINING.scaling } = {},
  ) => {
    const layout = parameterLayout(config, rank, 2);
    startFrom(
      { baseModel, training: TRAINING, tensors: referenceTensors(family) },
      new Float32Array(layout.size),
      { config, layout },
      { ...TRAINING, scaling, alpha, baseModel: { name, revision: null } },
    );
  };
  assertThrows(
    () => start("roberta", 8, TRAINING.alpha),
    Error,
    '"start" has rank 4, but this training has 8: give both the same rank',
  );
  assertIsError(
    assertThrows(() => start("roberta", 4, 1)),
    Error,
    /alpha 8, but .* has 1/,
  );
  assertIsError(
    assertThrows(() =>
      start("roberta", 4, TRAINING.alpha, { scaling: "maximum" })
    ),
    Error,
    /scaling rank, but .* has maximum/,
  );
  assertIsError(
    assertThrows(() => start("roberta", 4, TRAINING.alpha, { name: "c/d" })),
    Error,
    /model a\/b, but .* has c\/d/,
  );
  assertIsError(
    assertThrows(() => start("bert", 4, TRAINING.alpha)),
    Error,
    /does not fit the model: tensor "base_model.model.roberta.*" .* is missing/,
  );
});

Deno.test("train-dylora goes on from the adapters of another task", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = { rank: 2, epochs: 1, batchSize: 16 };
    const first = await run("train-lora", {
      ...params,
      learningRate: 1e-2,
    }, given);
    const inputs = { ...given, start: first };
    // So slow that nothing moves by more than 1e-6.
    const still = { ...params, learningRate: 1e-8, seed: 1 };
    const second = await run("train-dylora", still, inputs);
    const [from, to] = [await readAdapter(first), await readAdapter(second)];
    assertEquals((await readTraining(second)).start, {
      method: "lora",
      task: "rte",
      seed: 0,
    });
    for (const [name, { values }] of Object.entries(to.tensors)) {
      const before = from.tensors[name]!.values;
      if (name.includes("lora_")) assertClose(values, before, 1e-6, name);
      else if (name.endsWith("weight")) assertNotEquals(values, before);
    }
    const refused = await attempt("train-lora", { rank: 3 }, inputs);
    assertEquals(refused.code, 1);
    assertMatch(refused.text, /has rank 2, but this training has 3/);
  }));
