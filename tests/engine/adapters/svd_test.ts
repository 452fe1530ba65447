import { assert, assertEquals } from "@std/assert";
import { productSvd } from "../../../lib/engine/adapters/svd.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { assertClose, fixture, openReference } from "../reference.ts";

const { rank } = JSON.parse(
  Deno.readTextFileSync(fixture("references/training.json")),
);

for (const architecture of ["roberta", "bert"] as const) {
  Deno.test(`productSvd() gives numpy's factors of every product of the reference, ${architecture}`, () => {
    const { figures } = openReference(architecture);
    const names = [...figures.tensors.keys()].filter((name) =>
      name.startsWith("svd.adapter.") && name.includes("lora_A")
    );
    assertEquals(names.length, 4);
    for (const name of names) {
      const nameB = name.replace("lora_A", "lora_B");
      const { a, b } = factorsOf({
        a: figures.floats(name.replace("svd.", "")),
        b: figures.floats(nameB.replace("svd.", "")),
      }, rank);
      assertClose(a, figures.floats(name), 1e-6, name);
      assertClose(b, figures.floats(nameB), 1e-6, nameB);
    }
  });
}

Deno.test("productSvd() keeps the product, even if the rank exceeds its size", () => {
  for (const [rank, inputs, outputs] of [[3, 7, 5], [5, 4, 6], [9, 4, 4]]) {
    const given = {
      a: randomMatrix(rank! * inputs!),
      b: randomMatrix(outputs! * rank!),
    };
    const factors = factorsOf(given, rank!);
    assertClose(
      product(factors, rank!),
      product(given, rank!),
      1e-5,
      `product of rank ${rank}`,
    );
    const own = Math.min(rank!, inputs!, outputs!);
    assert(factors.a.subarray(own * inputs!).every((value) => value === 0));
  }
});

Deno.test("productSvd() of repeated rows leaves zeros beyond the product's own rank", () => {
  const row = randomMatrix(6);
  const column = randomMatrix(4);
  const a = Float32Array.from([...row, ...row, ...row]);
  const b = Float32Array.from([...column].flatMap((it) => [it, it, it]));
  const factors = factorsOf({ a, b }, 3);
  assertClose(product(factors, 3), product({ a, b }, 3), 1e-5, "product");
  assertClose(factors.a.subarray(6), new Float32Array(12), 1e-6, "the rest");
});

Deno.test("productSvd() of an adapter that was never trained is zero", () => {
  const factors = factorsOf({
    a: randomMatrix(12),
    b: new Float32Array(8),
  }, 2);
  assertClose(factors.a, new Float32Array(12), 0, "A");
  assertClose(factors.b, new Float32Array(8), 0, "B");
});

Deno.test("productSvd() finds the best approximation of each rank, of factors of any shape and size", () => {
  const sizes = [1, 2, 5, 31, 300];
  for (const outputs of sizes) {
    for (const inputs of sizes) {
      for (const rank of [1, 2, 3, 8, 33]) {
        // From far below one to far above it, as float32 allows.
        const size = 10 ** (outputs % 3 * 10 - 10);
        const a = randomMatrix(rank * inputs).map((it) => size * it);
        const b = randomMatrix(outputs * rank).map((it, i) =>
          it * 0.5 ** (i % rank)
        );
        const { values, factors } = productSvd({ a, b }, rank);
        const whole = product({ a, b }, rank);
        const norm = Math.hypot(...whole);
        assert(values.every((it, k) => k === 0 || it <= values[k - 1]!));
        for (const kept of new Set([1, Math.ceil(rank / 2), rank])) {
          const cut = product(factors(kept), kept);
          const error = Math.hypot(...cut.map((it, i) => it - whole[i]!));
          const tail = Math.hypot(...values.subarray(kept));
          assert(
            Math.abs(error - tail) < 1e-6 * norm,
            `[${outputs}, ${rank}, ${inputs}] at ${kept}: ${error} for ${tail}`,
          );
        }
      }
    }
  }
});

Deno.test("productSvd() finds singular values a million times smaller than others", () => {
  // Orthogonal rows and columns, whose lengths are the singular values.
  const sizes = [1, 1e-3, 1e-6, 1e-9];
  const hadamard = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [
    1,
    -1,
    -1,
    1,
  ]];
  const a = Float64Array.from(hadamard.flat());
  const b = Float64Array.from(
    hadamard.flatMap((row) => row.map((it, k) => it * sizes[k]!)),
  );
  const { values } = productSvd({ a, b }, 4);
  sizes.forEach((size, k) =>
    assert(Math.abs(values[k]! / (4 * size) - 1) < 1e-6, `${values[k]}`)
  );
});

/** The factors of the whole rank. */
function factorsOf(given: Parameters<typeof productSvd>[0], rank: number) {
  return productSvd(given, rank).factors(rank);
}

function randomMatrix(size: number): Float32Array {
  const random = seededRandom(size, "matrix");
  return Float32Array.from({ length: size }, () => 2 * random.next() - 1);
}

/** `B A`, row-major. */
function product(
  { a, b }: { readonly a: Float32Array; readonly b: Float32Array },
  rank: number,
): number[] {
  const inputs = a.length / rank;
  const outputs = b.length / rank;
  return Array.from({ length: outputs * inputs }, (_, at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs];
    let sum = 0;
    for (let r = 0; r < rank; r++) {
      sum += b[row * rank + r]! * a[r * inputs + column]!;
    }
    return sum;
  });
}
