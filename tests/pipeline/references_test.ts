import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { faultsOf, load, withTasks } from "./fake_tasks.ts";
import { hasReference, substitute } from "../../lib/pipeline/references.ts";

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
    ({ message, path }) => problems.push(`${path.join(".")}: ${message}`),
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

Deno.test("substitute() inserts values into text", () => {
  assertEquals(
    resolve(["${params.model}-r${matrix.rank}", "$${params.model} $5 {x}"]),
    ["roberta-r4", "${params.model} $5 {x}"],
  );
});

Deno.test("substitute() reports faulty references with their paths", () => {
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
      'c: "${params.train}" is a mapping and cannot be inserted into text',
      'd: "params.model" is text "roberta" and has no "size"',
      'e: "params.train.ranks" is a list of length 3 and has no "5"',
      'f: A reference that starts with "${" has no closing "}"',
    ],
  );
});

Deno.test("substitute() reads own keys only", () => {
  assertEquals(resolve("${params.constructor}"), [
    ': "params" has no "constructor"',
  ]);
  assertEquals(resolve("${params.train.ranks.length}"), [
    ': "params.train.ranks" is a list of length 3 and has no "length"',
  ]);
});

Deno.test("substitute() does not change text without references", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    fc.pre(!text.includes("${"));
    assertEquals(resolve(text), text);
    assertEquals(hasReference(text), false);
  }));
});

Deno.test("substitute() resolves or refuses any reference", () => {
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

/** A pipeline with parameters, and a stage with the given `with`. */
function pipeline(params: string, parameters: string): string {
  return `
name: test
params: ${params}
stages:
  data: { task: fetch, with: { source: x } }
  train:
    task: train
    with: ${parameters}
    inputs: { data: data }
`;
}

Deno.test(
  'expandPipeline() merges the mapping under "<<"; the keys beside it take precedence',
  () =>
    withTasks(async (tasks) => {
      const { stages } = await load(
        tasks,
        pipeline(
          "{ train: { lr: 0.5, seed: 1 } }",
          "{ seed: 2, <<: ${params.train} }",
        ),
      );
      assertEquals(stages.get("train")!.params, { lr: 0.5, seed: 2 });
    }),
);

Deno.test(
  'expandPipeline() merges a list of mappings under "<<"; the first that has a key takes precedence',
  () =>
    withTasks(async (tasks) => {
      const params =
        "{ train: { lr: 0.5, seed: 1 }, other: { lr: 2, note: x } }";
      const { stages } = await load(
        tasks,
        pipeline(params, "{ seed: 2, <<: [${params.train}, ${params.other}] }"),
      );
      assertEquals(stages.get("train")!.params, {
        lr: 0.5,
        seed: 2,
        note: "x",
      });
      const faults = (params: string, merged: string) =>
        faultsOf(tasks, pipeline(params, `{ seed: 1, <<: ${merged} }`));
      assertEquals(
        await faults(
          "{ train: { note: x }, other: { lr: fast } }",
          "[${params.train}, ${params.other}]",
        ),
        [
          '8:44 Invalid "lr" of task "train": expected a number, got text "fast" from "${params.other}"',
        ],
      );
      assertEquals(
        await faults("{ train: {} }", "[${params.train}, ${params.no}]"),
        [
          '8:44 "params" has no "no"',
        ],
      );
      assertEquals(await faults("{ train: 3 }", "[${params.train}, {}]"), [
        '8:27 Expected a mapping such as ${params.train}, or a list of mappings, under "<<", got "3"',
      ]);
    }),
);

Deno.test("expandPipeline() marks the merge key for faults of merged parameters", () =>
  withTasks(async (tasks) => {
    const faults = (params: string, parameters: string) =>
      faultsOf(tasks, pipeline(params, parameters));
    assertEquals(
      await faults("{ train: 3 }", "{ seed: x, <<: ${params.train} }"),
      [
        '8:19 Invalid "seed" of task "train": expected a number, got text "x"',
        '8:26 Expected a mapping such as ${params.train}, or a list of mappings, under "<<", got "3"',
      ],
    );
    assertEquals(
      await faults(
        "{ train: { lr: fast, sed: 1 } }",
        "{ seed: 1, <<: ${params.train} }",
      ),
      [
        '8:22 Unknown key "sed" of task "train" from "${params.train}"; did you mean "seed"?',
        '8:26 Invalid "lr" of task "train": expected a number, got text "fast" from "${params.train}"',
      ],
    );
    assertEquals(
      await faults("{ train: {} }", "{ sed: 1, <<: ${params.tran} }"),
      [
        '8:13 Unknown key "sed" of task "train"; did you mean "seed"?',
        '8:25 "params" has no "tran"; did you mean "train"?',
      ],
    );
  }));

Deno.test("expandPipeline() refuses a merge key below the parameters of a stage", () =>
  withTasks(async (tasks) => {
    assertEquals(
      await faultsOf(
        tasks,
        pipeline("{ train: { lr: 1 } }", "{ note: { <<: ${params.train} } }"),
      ),
      [
        '8:13 Invalid "note" of task "train": expected text, got a mapping',
        '8:25 "<<" is allowed directly under "with" only',
      ],
    );
  }));

Deno.test('expandPipeline() refuses "<<" wherever nothing is merged', () =>
  withTasks(async (tasks) => {
    const overridden = async (profile: string) =>
      await faultsOf(
        tasks,
        pipeline(
          `{ train: 3, list: [1] }\nprofiles: { quick: ${profile} }`,
          "{}",
        ),
      );
    assertEquals(await overridden("{ train: { <<: { lr: 1 } } }"), [
      `4:22 Invalid name "<<" of a parameter in profile "quick": a name consists of letters, digits, "_" and "-", and does not begin with "-"`,
    ]);
    assertEquals(await overridden("{ list: [{ <<: { lr: 1 } }] }"), [
      `4:22 Invalid name "<<" of a parameter in profile "quick": a name consists of letters, digits, "_" and "-", and does not begin with "-"`,
    ]);
    assertEquals(
      await faultsOf(tasks, pipeline("{}", "{ note: { <<: { a: 1 } } }")),
      [
        '8:13 Invalid "note" of task "train": expected text, got a mapping',
        '8:21 "<<" is allowed directly under "with" only',
      ],
    );
    assertEquals(
      await faultsOf(tasks, pipeline("{ train: 3 }", "{}"), {
        settings: [{ key: "train", value: { "<<": { lr: 1 } } }],
      }),
      [
        '-S train={"<<":{"lr":1}}: Invalid name "<<" of a parameter: a name consists of letters, digits, "_" and "-", and does not begin with "-"',
      ],
    );
  }));
