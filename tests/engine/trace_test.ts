/** What is traced: a function of named tensors, run as one graph function. */
import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { libraryOp } from "../../lib/engine/tensorflow/tfjs_node_gpu.ts";
import { DataType } from "../../lib/engine/tensorflow/tensors.ts";
import { fused, type Named, trace } from "../../lib/engine/trace.ts";
import { tensorflow } from "./engine.ts";
import { assertSameBits, read } from "./reference.ts";

const ignore = tensorflow === undefined;
const x = tf.tensor2d([[1, 2], [3, 4]]);

type X = { readonly x: tf.Tensor };

Deno.test({
  name:
    "trace() refuses to read a value, and names the operation that gives it",
  ignore,
  fn() {
    const traced = trace(({ x }: X) => ({
      y: tf.scalar(tf.matMul(x, x).dataSync()[0]!),
    }));
    assertIsError(
      assertThrows(() => traced({ x })),
      Error,
      /^Cannot read the result of "BatchMatMulV2", of shape \[2,2\], inside a traced function/,
    );
    assertEquals(tensorflow!.tracing, false);
  },
});

Deno.test({
  name:
    "trace() refuses inputs and results that are no tensors, by their paths",
  ignore,
  fn() {
    const input = trace((given: { readonly sizes: readonly number[] }) => ({
      y: tf.add(x, given.sizes[0]!),
    }));
    assertThrows(() => input({ sizes: [1] }), TypeError, '"sizes.0" of a');
    const result = trace(({ x }: X) => ({ y: x, title: "a" }));
    assertThrows(() => result({ x }), TypeError, '"title" of a');
    assertEquals(tensorflow!.tracing, false);
  },
});

Deno.test({
  name: "trace() refuses an operation whose shape depends on values, by name",
  ignore,
  fn() {
    const traced = trace(({ x }: X) => ({
      places: libraryOp("Where", { T: DataType.float32 }, [x]),
    }));
    assertThrows(
      () => traced({ x }),
      Error,
      'Operation "Where" cannot be traced',
    );
    assertEquals(tensorflow!.tracing, false);
  },
});

Deno.test({
  name:
    "trace() makes one function for each set of shapes, and none after a failure",
  ignore,
  async fn() {
    let fails = true;
    const traced = trace(({ x }: X) => {
      if (fails) throw new Error("not yet");
      return { y: tf.add(x, 1) };
    });
    assertThrows(() => traced({ x }), Error, "not yet");
    assertEquals(traced.traces(), 0);
    fails = false;
    for (const input of [x, x, tf.ones([3])]) {
      const { y } = traced({ x: input });
      assertEquals(
        await read(y),
        (await read(input)).map((value) => value + 1),
      );
    }
    assertEquals(traced.traces(), 2);
    traced.dispose();
    assertEquals(traced.traces(), 0);
  },
});

/** `x - y`, and z added where it is given. */
function sum({ x, y, z }: Named) {
  const difference = tf.sub(x!, y!);
  return { value: z === undefined ? difference : tf.add(difference, z) };
}

/** Large enough for compiled functions to be made. */
const [large, other, third] = [1, 2, 3].map((seed) =>
  tf.randomNormal([256, 160], 0, 1, "float32", seed)
);

for (
  const [kind, make] of [
    ["trace()", trace],
    ["fused()", fused],
    ["fused() inside of trace()", (f) => trace(fused(f))],
  ] satisfies [string, (f: typeof sum) => typeof sum][]
) {
  Deno.test(`${kind} matches tensors by name, in any order`, async () => {
    const f = make(sum);
    const expected = await read(tf.sub(large!, other!));
    const results = [f({ x: large, y: other }), f({ y: other, x: large })];
    for (const { value } of results) {
      assertSameBits(await read(value), expected);
    }
    const { value } = f({ x: other, y: large });
    assertSameBits(await read(value), await read(tf.sub(other!, large!)));
  });

  Deno.test(`${kind} treats an undefined tensor as absent`, async () => {
    const f = make(sum);
    const inputs = { x: large, y: other };
    const results = [f({ ...inputs, z: undefined }), f(inputs)];
    const expected = await read(tf.sub(large!, other!));
    for (const { value } of results) {
      assertSameBits(await read(value), expected);
    }
    const { value } = f({ ...inputs, z: third });
    const added = tf.add(tf.sub(large!, other!), third!);
    assertSameBits(await read(value), await read(added));
  });
}

Deno.test({
  name: "trace() makes no further function for a name that is undefined",
  ignore,
  fn() {
    const traced = trace(sum);
    for (const z of [undefined, third, undefined, third]) {
      tf.dispose(traced({ x: large, y: other, z }));
    }
    tf.dispose(traced({ x: large, y: other }));
    assertEquals(traced.traces(), 2);
    traced.dispose();
  },
});

Deno.test("trace() gives every result by its name, except undefined ones", async () => {
  const traced = trace(({ x }: X) => ({
    sum: tf.add(x, 1),
    none: undefined,
    product: tf.mul(x, 2),
  }));
  const held = tf.memory().numTensors;
  const { sum, product, none } = traced({ x });
  assertEquals(await read(sum), Float32Array.of(2, 3, 4, 5));
  assertEquals(await read(product), Float32Array.of(2, 4, 6, 8));
  assertEquals(none, undefined);
  tf.dispose([sum, product]);
  assertEquals(tf.memory().numTensors, held);
});

Deno.test({
  name: "trace() keeps a function that another trace of the same frees",
  ignore,
  async fn() {
    const functions = [1, 2].map(() =>
      trace(({ x }: X) => ({ y: tf.matMul(x, x) }))
    );
    for (const f of functions) await read(f({ x }).y);
    functions[0]!.dispose();
    assertEquals([...await read(functions[1]!({ x }).y)], [7, 10, 15, 22]);
    functions[1]!.dispose();
    const again = trace(({ x }: X) => ({ y: tf.matMul(x, x) }));
    assertEquals([...await read(again({ x }).y)], [7, 10, 15, 22]);
    again.dispose();
  },
});
