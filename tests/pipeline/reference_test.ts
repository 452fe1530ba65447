import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { hasReference, substitute } from "../../lib/pipeline/reference.ts";

const SCOPE = {
  params: {
    model: "roberta",
    train: { lr: 4e-4, ranks: [1, 2, 4] },
    tuned: { mrpc: { lr: 5e-4 } },
    nothing: null,
  },
  matrix: { glue: "mrpc", rank: 4, at: 2 },
};

function resolve(value: unknown): unknown {
  const problems: string[] = [];
  const resolved = substitute(
    value,
    SCOPE,
    (message, path) => problems.push(`${path.join(".")}: ${message}`),
  );
  return problems.length > 0 ? problems : resolved;
}

Deno.test("substitute() keeps the type of a value that is one reference", () => {
  assertEquals(
    resolve({
      list: "${params.train.ranks}",
      number: "${ matrix.rank }",
      item: "${params.train.ranks[2]}",
      indexed: "${params.train.ranks[matrix.at]}",
      looked: "${params.tuned[matrix.glue].lr}",
      nothing: "${params.nothing}",
    }),
    {
      list: [1, 2, 4],
      number: 4,
      item: 4,
      indexed: 4,
      looked: 5e-4,
      nothing: null,
    },
  );
});

Deno.test("substitute() writes values out inside a text", () => {
  assertEquals(
    resolve(["${params.model}-r${matrix.rank}", "$${params.model} $5 {x}"]),
    ["roberta-r4", "${params.model} $5 {x}"],
  );
});

Deno.test("substitute() says what is wrong, and where", () => {
  assertEquals(
    resolve({
      a: "${params.modle}",
      b: ["${matrx.glue}"],
      c: "x ${params.train}",
      d: "${params.model.size}",
      e: "${params.train.ranks.5}",
      f: "${params.train",
    }),
    [
      'a: "params" has no "modle"; did you mean "model"?',
      'b.0: Unknown name "matrx"; did you mean "matrix"?',
      'c: "${params.train}" is a mapping, which cannot stand inside a text',
      'd: "params.model" is no mapping, so it has no "size"',
      'e: "params.train.ranks" is a list of 3; it has no item "5"',
      'f: A reference starts with "${" and has no "}"',
    ],
  );
});

Deno.test("substitute() reaches nothing but own keys", () => {
  assertEquals(resolve("${params.constructor}"), [
    ': "params" has no "constructor"',
  ]);
  assertEquals(resolve("${params.train.ranks.length}"), [
    ': "params.train.ranks" is a list of 3; it has no item "length"',
  ]);
});

Deno.test("substitute() leaves text without references as it is", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    fc.pre(!text.includes("${"));
    assertEquals(resolve(text), text);
    assertEquals(hasReference(text), false);
  }));
});

Deno.test("substitute() reads or refuses any reference", () => {
  const piece = fc.constantFrom(
    "${",
    "}",
    "params",
    "matrix",
    ".",
    "[",
    "]",
    "glue",
    "0",
    "$",
    " ",
    "train",
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    resolve(pieces.join(""));
  }));
});
