/** What is traced: a function of tensors, run as one graph function. */
import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { libraryOp } from "../../lib/engine/backend.ts";
import {
  AttributeType,
  DataType,
} from "../../lib/engine/tensorflow/tensors.ts";
import { trace } from "../../lib/engine/trace.ts";
import { tensorflow } from "./engine.ts";
import { read } from "./reference.ts";

const ignore = tensorflow === undefined;
const x = tf.tensor2d([[1, 2], [3, 4]]);

Deno.test({
  name:
    "trace() refuses to read a value, and names the operation that gives it",
  ignore,
  fn() {
    const traced = trace((
      [x],
    ) => [tf.scalar(tf.matMul(x!, x!).dataSync()[0]!)]);
    assertIsError(
      assertThrows(() => traced([x])),
      Error,
      /^Cannot read the result of "BatchMatMulV2", of shape \[2,2\], inside a traced function/,
    );
    assertEquals(tensorflow!.binding.tracing, false);
  },
});

Deno.test({
  name: "trace() refuses an operation whose shape depends on values, by name",
  ignore,
  fn() {
    const traced = trace(([x]) =>
      libraryOp("Where", [
        { name: "T", type: AttributeType.type, value: DataType.float32 },
      ], [x!])
    );
    assertThrows(
      () => traced([x]),
      Error,
      'Operation "Where" cannot be traced',
    );
    assertEquals(tensorflow!.binding.tracing, false);
  },
});

Deno.test({
  name:
    "trace() makes one function for each set of shapes, and none after a failure",
  ignore,
  async fn() {
    let fails = true;
    const traced = trace(([x]) => {
      if (fails) throw new Error("not yet");
      return [tf.add(x!, 1)];
    });
    assertThrows(() => traced([x]), Error, "not yet");
    assertEquals(traced.traces, 0);
    fails = false;
    for (const input of [x, x, tf.ones([3])]) {
      const [result] = traced([input]);
      assertEquals(
        await read(result!),
        (await read(input)).map((value) => value + 1),
      );
    }
    assertEquals(traced.traces, 2);
    traced.dispose();
    assertEquals(traced.traces, 0);
  },
});
