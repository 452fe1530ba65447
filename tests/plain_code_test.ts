/** What makes code dense, and is refused. */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { listFiles } from "../lib/store/blobs.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Nodes that an assignment may stand in: it is a statement there. */
const STATEMENTS = [
  "ExpressionStatement",
  "ForStatement",
  "ArrowFunctionExpression",
];

/** Types of functions, from which a contract between files is not derived. */
const DERIVING = ["ReturnType", "Parameters"];

/** Functions of the system whose types depend on the types that are loaded. */
const TIMERS = ["setTimeout", "setInterval"];

type AssignmentNode =
  | Deno.lint.AssignmentExpression
  | Deno.lint.UpdateExpression;

const RULES: Deno.lint.Plugin = {
  name: "plain",
  rules: {
    /**
     * An object or a list that is spread where it is written, which packs
     * several members into a line.
     */
    "no-packing-spread": {
      create: (context) => ({
        SpreadElement(node) {
          const { type } = node.argument;
          if (type === "ObjectExpression" || type === "ArrayExpression") {
            context.report({ node, message: "a spread of what is written" });
          }
        },
      }),
    },
    /** Several declarations that share a destructuring: `const [a, b] = [x, y]`. */
    "no-packed-declarations": {
      create: (context) => ({
        VariableDeclarator(node) {
          const isList = node.id.type === "ArrayPattern" &&
            node.init?.type === "ArrayExpression";
          if (isList) context.report({ node, message: "several declarations" });
        },
      }),
    },
    /** An assignment or an increment whose value is used. */
    "no-assignment-in-expression": {
      create(context) {
        const check = (node: AssignmentNode) => {
          if (!STATEMENTS.includes(node.parent.type)) {
            context.report({ node, message: "an assignment in an expression" });
          }
        };
        return { AssignmentExpression: check, UpdateExpression: check };
      },
    },
    /** A contract that is derived from a function: `ReturnType<typeof f>`. */
    "no-derived-contract": {
      create: (context) => ({
        TSTypeQuery(node) {
          const list: Deno.lint.Node = node.parent;
          const reference = "parent" in list ? list.parent : undefined;
          const isDerived = reference?.type === "TSTypeReference" &&
            reference.typeName.type === "Identifier" &&
            DERIVING.includes(reference.typeName.name);
          const isTimer = node.exprName.type === "Identifier" &&
            TIMERS.includes(node.exprName.name);
          if (isDerived && !isTimer) {
            context.report({ node, message: "a type of a function's result" });
          }
        },
      }),
    },
  },
};

/** Files that still have some, by rule. Nothing is added to these lists. */
const UNCLEAN: Readonly<Record<string, readonly string[]>> = {
  "no-packing-spread": [
    "lib/engine/install/host.ts",
    "lib/engine/models/pass_weights.ts",
    "lib/engine/models/tensor_pass.ts",
    "lib/engine/ops/adapted_linear.ts",
    "lib/engine/ops/gelu.ts",
    "lib/engine/ops/layer_norm.ts",
    "lib/engine/tensorflow/open.ts",
    "lib/engine/training/generation.ts",
    "lib/engine/training/step.ts",
    "lib/engine/training/train.ts",
    "lib/problems/language.ts",
  ],
  "no-packed-declarations": [
    "lib/data/faults.ts",
    "lib/data/inspect_table.ts",
    "lib/data/table.ts",
    "lib/engine/adapters/svd.ts",
    "lib/engine/models/generation_pass.ts",
    "lib/engine/models/pass_weights.ts",
    "lib/engine/models/tensor_pass.ts",
    "lib/engine/tensorflow/compiled.ts",
    "lib/engine/training/train.ts",
    "lib/problems/classification.ts",
    "lib/problems/problem.ts",
    "lib/problems/registry.ts",
    "lib/problems/tokens.ts",
    "lib/resize/card.ts",
    "lib/resize/rewrite.ts",
    "lib/serve/entities.ts",
    "lib/serve/page.ts",
    "lib/stages/fetch_own_data.ts",
    "lib/stages/import.ts",
    "lib/text/aligned_text.ts",
    "lib/text/model_tokenizer.ts",
    "lib/text/text_tokenizer.ts",
    "lib/text/unigram.ts",
  ],
  "no-assignment-in-expression": [
    "lib/data/table.ts",
    "lib/data/text_form.ts",
    "lib/engine/adapters/lora.ts",
    "lib/engine/backends/webgpu.ts",
    "lib/engine/models/model.ts",
    "lib/engine/models/pass_weights.ts",
    "lib/engine/tensorflow/binding.ts",
    "lib/engine/tensorflow/graph.ts",
    "lib/engine/training/train.ts",
    "lib/problems/tagged_text.ts",
    "lib/resize/card.ts",
    "lib/resize/resize.ts",
    "lib/serve/writing_page.ts",
    "lib/text/added_tokens.ts",
    "lib/text/model_tokenizer.ts",
    "lib/text/pre_tokenizer.ts",
    "lib/text/text_tokenizer.ts",
    "lib/text/unigram.ts",
  ],
  "no-derived-contract": [
    "lib/engine/tensorflow/c_api.ts",
    "lib/engine/training/fit_head.ts",
    "lib/engine/training/train.ts",
    "lib/peft/import.ts",
    "lib/text/model_tokenizer.ts",
    "lib/text/text_pattern.ts",
    "lib/text/text_tokenizer.ts",
  ],
};

for (const rule of Object.keys(RULES.rules)) {
  Deno.test(`no file breaks the rule ${rule} of plain code`, () => {
    const broken = new Map<string, number[]>();
    for (const path of codeFiles()) {
      const text = Deno.readTextFileSync(`${ROOT}${path}`);
      const plugin = { name: "plain", rules: { [rule]: RULES.rules[rule]! } };
      const lines = Deno.lint.runPlugin(plugin, path, text).map(({ range }) =>
        text.slice(0, range[0]).split("\n").length
      );
      if (lines.length > 0) broken.set(path, lines);
    }
    const unclean = UNCLEAN[rule] ?? [];
    const added = [...broken].filter(([path]) => !unclean.includes(path))
      .map(([path, lines]) => `${path}:${lines.join()}`);
    assertEquals(added, []);
  });
}

/** Paths of the modules in `lib` and `tasks`. */
function codeFiles(): string[] {
  return ["lib", "tasks"].flatMap((folder) =>
    listFiles(`${ROOT}${folder}`, "refuse").map((path) => `${folder}/${path}`)
  ).filter((path) => path.endsWith(".ts"));
}

/** Folders whose comments are wrapped. */
const WRAPPED = [
  "fixtures",
  "lib/benchmarks",
  "lib/cli/pages",
  "lib/onnx",
  "lib/pypi",
  "lib/report",
  "lib/serve",
  "lib/track",
  "tasks",
];

Deno.test("comments are wrapped at 80 columns, but for URLs", () => {
  const tooLong = WRAPPED.flatMap((folder) =>
    listFiles(`${ROOT}${folder}`, "refuse").map((path) => `${folder}/${path}`)
  ).filter((path) => path.endsWith(".ts")).flatMap((path) =>
    Deno.readTextFileSync(`${ROOT}${path}`).split("\n").flatMap((line, i) =>
      line.length > 80 && /^\s*(\/\*\*|\*|\/\/) /.test(line) &&
        !line.includes("://")
        ? [`${path}:${i + 1}`]
        : []
    )
  );
  assertEquals(tooLong, []);
});
