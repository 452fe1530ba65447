import { assertEquals } from "@std/assert";
import { differenceOf } from "../../lib/artifacts/file_difference.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

Deno.test("differenceOf() counts the bytes that differ, and says where the first is", () => {
  using folder = new TemporaryFolder();
  const [a, b] = [folder.join("a"), folder.join("b")];
  const bytes = new Uint8Array((1 << 20) + 100);
  Deno.writeFileSync(a, bytes);
  for (
    const [at, length, expected] of [
      [[5, 6, 1 << 20, (1 << 20) + 99], bytes.length, [5, 4]],
      [[(1 << 20) - 1], bytes.length - 10, [(1 << 20) - 1, 11]],
      [[], bytes.length - 10, [bytes.length - 10, 10]],
      [[], 0, [0, bytes.length]],
    ] as const
  ) {
    const other = bytes.slice(0, length);
    for (const place of at) other[place] = 1;
    Deno.writeFileSync(b, other);
    const [first, count] = expected;
    assertEquals(differenceOf("x.bin", a, b), {
      sizes: [bytes.length, length],
      first,
      bytes: count,
      tensors: {},
    });
  }
});

Deno.test("differenceOf() names the tensors of a safetensors file that differ, and its header", () => {
  using folder = new TemporaryFolder();
  const write = (name: string, values: readonly number[], metadata: string) => {
    const path = folder.join(name);
    writeSafetensors(
      path,
      {
        "q.lora_A": { shape: [3], values: Float32Array.of(1, 2, 3) },
        "q.lora_B": {
          shape: [values.length],
          values: Float32Array.from(values),
        },
        "q.none": { shape: [0], values: new Float32Array() },
      },
      { made: metadata },
    );
    return path;
  };
  const a = write("a", [1, 2], "x");
  const { tensors, bytes } = differenceOf(
    "m.safetensors",
    a,
    write("b", [1, 2.5], "y"),
  );
  assertEquals(tensors, { "": 1, "q.lora_B": 1 });
  assertEquals(bytes, 2);
  assertEquals(
    differenceOf("m.safetensors", a, write("c", [-1, 2], "x")).tensors,
    { "q.lora_B": 1 },
  );
});
