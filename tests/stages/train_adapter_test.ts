import {
  assert,
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { LORA_A, LORA_B, updated } from "../../lib/engine/adapters/lora.ts";
import { scaleAt } from "../../lib/engine/adapters/scale.ts";
import {
  fromTensors,
  parameterLayout,
  toTensors,
} from "../../lib/engine/models/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { elementCount } from "../../lib/engine/safetensors/reader.ts";
import { startFrom } from "../../lib/stages/train_adapter.ts";
import { assertSameBits, openReference } from "../engine/reference.ts";
import {
  REFERENCE_TRAINING,
  referenceTensors,
} from "../tasks/reference_adapter.ts";

const baseModel = { name: "a/b", revision: null };
const TRAINING = { ...REFERENCE_TRAINING, labels: ["no", "yes"] };

for (const family of ["bert", "roberta"] as const) {
  Deno.test(`startFrom() copies the adapters and keeps the new head of three classes, ${family}`, () => {
    const { model, figures } = openReference(family);
    const layout = parameterLayout(model, 3, { rank: 4 });
    const random = seededRandom(0, "init");
    const fresh = Float32Array.from({ length: layout.size }, random.next);
    const tensors = referenceTensors(family);
    const values = startFrom(
      { baseModel: undefined, training: TRAINING, tensors },
      fresh,
      { model, layout },
      { ...TRAINING, baseModel },
    );
    const carried = fromTensors(
      (name) => figures.floats(`adapter.base_model.model.${name}`),
      parameterLayout(model, 2, { rank: 4 }),
    );
    // The adapters come first in both layouts.
    const head = [...layout.entries.values()].find(({ module }) =>
      module === undefined
    )!.offset;
    assertSameBits(values.slice(0, head), carried.slice(0, head));
    assertSameBits(values.slice(head), fresh.slice(head));
  });
}

for (
  const [scaling, higher] of [
    [TRAINING.scaling, 8],
    [{ rslora: "rank" }, 16],
  ] as const
) {
  Deno.test(`startFrom() extends an adapter to rank ${higher} by rows that do not change its products`, () => {
    const training = { ...TRAINING, scaling };
    const { model } = openReference("roberta");
    const random = seededRandom(0, "init");
    const startAt = (rank: number) => {
      const layout = parameterLayout(model, 2, { rank });
      // As a new adapter has them: A random, B zero.
      const fresh = fromTensors(
        (name, shape) =>
          Float32Array.from(
            { length: elementCount(shape) },
            () => name.endsWith(LORA_B) ? 0 : 1 + random.next(),
          ),
        layout,
      );
      const tensors = referenceTensors("roberta");
      const values = startFrom(
        { baseModel, training, tensors },
        fresh,
        { model, layout },
        { ...training, baseModel },
      );
      return { layout, tensors: toTensors(values, layout) };
    };
    const own = startAt(4);
    const wide = startAt(higher);
    for (const { name, inputs, outputs } of wide.layout.modules) {
      const [updateOfOwn, updateOfWide] = [own, wide].map((
        { tensors, layout },
      ) =>
        updated(
          new Float32Array(outputs * inputs),
          {
            [LORA_A]: tensors[`${name}.${LORA_A}`]!,
            [LORA_B]: tensors[`${name}.${LORA_B}`]!,
          },
          scaleAt(layout.rank, { ...training, rank: layout.rank }),
        )
      );
      assertNotEquals(updateOfOwn, new Float32Array(outputs * inputs));
      assertEquals(updateOfWide, updateOfOwn);
      const { values } = wide.tensors[`${name}.${LORA_A}`]!;
      const beyond = values.subarray(4 * inputs) as Float32Array;
      assert(beyond.every((value) => value >= 1));
    }
  });
}

Deno.test("startFrom() rejects a higher rank, another alpha, scaling or model", () => {
  const { model } = openReference("roberta");
  const start = (
    family: string,
    rank: number,
    alpha: number,
    { name = "a/b", scaling = TRAINING.scaling } = {},
  ) => {
    const layout = parameterLayout(model, 2, { rank });
    startFrom(
      { baseModel, training: TRAINING, tensors: referenceTensors(family) },
      new Float32Array(layout.size),
      { model, layout },
      { ...TRAINING, scaling, alpha, baseModel: { name, revision: null } },
    );
  };
  assertThrows(
    () => start("roberta", 2, TRAINING.alpha),
    Error,
    '"start" has rank 4, but this training has rank 2: train with at least that rank',
  );
  assertIsError(
    assertThrows(() => start("roberta", 4, 1)),
    Error,
    /alpha 8, but .* has alpha 1/,
  );
  assertIsError(
    assertThrows(() =>
      start("roberta", 4, TRAINING.alpha, { scaling: "maximum" })
    ),
    Error,
    /scaling rank, but .* has scaling maximum/,
  );
  assertIsError(
    assertThrows(() => start("roberta", 4, TRAINING.alpha, { name: "c/d" })),
    Error,
    /model a\/b, but .* has model c\/d/,
  );
  assertIsError(
    assertThrows(() => start("bert", 4, TRAINING.alpha)),
    Error,
    /does not fit the model: tensor "base_model.model.roberta.*" is missing/,
  );
});

Deno.test("startFrom() takes an imported adapter whose model PEFT knew by another name", () => {
  const { model } = openReference("roberta");
  const { task, problem, labels, rank, alpha, targetModules } = TRAINING;
  const layout = parameterLayout(model, 2, { rank });
  const values = startFrom(
    {
      baseModel: { name: "/home/me/roberta", revision: null },
      training: {
        method: { name: "lora" },
        imported: true,
        reducedBy: null,
        ...{ task, problem, labels, rank, alpha, targetModules },
        scaling: "maximum",
        seed: 0,
        maxLength: null,
        selection: null,
      },
      tensors: referenceTensors("roberta"),
    },
    new Float32Array(layout.size),
    { model, layout },
    { ...TRAINING, baseModel },
    "kept",
  );
  assertNotEquals(values, new Float32Array(layout.size));
});
