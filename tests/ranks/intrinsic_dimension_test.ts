import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { readModel } from "../../lib/artifacts/model.ts";
import {
  geloraRanks,
  intrinsicDimension,
} from "../../lib/ranks/intrinsic_dimension.ts";
import reference from "../../fixtures/references/intrinsic_dimensions.json" with {
  type: "json",
};

Deno.test("intrinsicDimension() gives the dimension of scikit-dimension, without points that equal another", () => {
  const points = Float32Array.from(reference.points.flat());
  assertAlmostEquals(intrinsicDimension(points, 5), reference.dimension, 1e-4);
});

Deno.test("intrinsicDimension() refuses points that are all the same", () => {
  assertThrows(
    () => intrinsicDimension(new Float32Array(20).fill(1), 2),
    RangeError,
    "Of 10 points, 0 are at a place of their own",
  );
});

const model = (name: string) =>
  readModel(join(import.meta.dirname!, "../../fixtures", name));

Deno.test("geloraRanks() gives the modules of a layer one rank more than it raises the dimension", () => {
  const layer = (i: number) =>
    ["query", "value"].map((it) =>
      `bert.encoder.layer.${i}.attention.self.${it}`
    );
  const modules = [...layer(0), "bert.pooler.dense", ...layer(1)];
  assertEquals(
    geloraRanks(model("tiny-bert"), modules, [5, 7.2, 6]),
    [4, 4, 1, 1, 1],
  );
});

Deno.test("geloraRanks() gives a module that layers share the largest of their ranks", () => {
  const albert = model("tiny-albert");
  const modules = [0, 1].flatMap((group) =>
    [0, 1].map((layer) =>
      `albert.encoder.albert_layer_groups.${group}.albert_layers.${layer}.attention.query`
    )
  );
  // Layers 0 and 2 share modules, and layers 1 and 3.
  const dimensions = [5, 5, 7, 10, 11, 10, 14];
  assertEquals(geloraRanks(albert, modules, dimensions), [4, 3, 1, 5]);
});
