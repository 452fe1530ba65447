import { assert, assertEquals } from "@std/assert";
import "../engine.ts";
import { fitHead } from "../../../lib/engine/training/fit_head.ts";
import { assertClose, fixture } from "../reference.ts";

/** Layers fitted by SciPy and NumPy in float64; see fixtures/fit_head.py. */
const REFERENCES: Readonly<
  Record<
    string,
    & Record<
      "layer" | "features" | "targets" | "weights" | "fitted",
      number[]
    >
    & Record<"count" | "pull", number>
    & { readonly heldOut: Record<"given" | "fitted", number> }
  >
> = JSON.parse(Deno.readTextFileSync(fixture("references/fit_head.json")));

async function fitted(name: string, loss: Parameters<typeof fitHead>[2]) {
  const reference = REFERENCES[name]!;
  const { count, features, targets, weights } = reference;
  const fit = await fitHead(
    {
      count,
      features: Float32Array.from(features),
      targets: Float32Array.from(targets),
      weights: Float32Array.from(weights),
    },
    Float64Array.from(reference.layer),
    loss,
  );
  assert(fit.flops > 0);
  return { ...fit, reference };
}

for (
  // L-BFGS ends where the gradient is small; products are in float32.
  const [name, loss, tolerance] of [
    ["cross-entropy", "cross-entropy", 1e-2],
    ["weighted", "cross-entropy", 1e-2],
    ["squared-error", "squared-error", 1e-4],
  ] as const
) {
  Deno.test(`fitHead() finds the pull and the layer that SciPy and NumPy find, ${name}`, async () => {
    const { reference, pull, heldOut, layer } = await fitted(name, loss);
    assertEquals(pull, reference.pull);
    for (const name of ["given", "fitted"] as const) {
      assertClose(
        [heldOut[name]],
        [reference.heldOut[name]],
        tolerance * reference.heldOut[name] / 10,
        name,
      );
    }
    const size = Math.max(...reference.fitted.map(Math.abs));
    assertClose(layer, reference.fitted, tolerance * size, "layer");
  });
}

Deno.test("fitHead() keeps the given layer when no fit is better on the held-out examples", async () => {
  const { reference, pull, heldOut, layer } = await fitted(
    "known",
    "cross-entropy",
  );
  assert(reference.heldOut.fitted >= reference.heldOut.given);
  assertEquals(pull, null);
  assertEquals(heldOut.fitted, heldOut.given);
  assertEquals([...layer], reference.layer);
});

Deno.test("fitHead() gives the same bits again", async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(() => fitted("cross-entropy", "cross-entropy")),
  );
  assertEquals(one!.layer, other!.layer);
});

Deno.test("fitHead() finds the same layer for features of any scale", async () => {
  const { count, features, targets, weights, layer } =
    REFERENCES["cross-entropy"]!;
  const [expected, ...others] = await Promise.all(
    [1, 1e-3, 1e3].map(async (scale) => {
      const fit = await fitHead(
        {
          count,
          features: Float32Array.from(features, (it) => it * scale),
          targets: Float32Array.from(targets),
          weights: Float32Array.from(weights),
        },
        Float64Array.from(layer, (it) => it / scale),
        "cross-entropy",
      );
      return fit.layer.map((it) => it * scale);
    }),
  );
  for (const found of others) assertClose(found, expected!, 1e-3, "layer");
});
