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

/** Names that say where a value comes from, and not what it is. */
const VAGUE = ["own", "found", "given", "known"];

/** Nodes that declare a name which is directly in them. */
const DECLARING = [
  "ArrayPattern",
  "ArrowFunctionExpression",
  "FunctionDeclaration",
  "FunctionExpression",
  "RestElement",
  "VariableDeclarator",
];

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
    /**
     * Several declarations that share a destructuring: `const [a, b] = [x, y]`,
     * or `[x, y].map(f)`.
     */
    "no-packed-declarations": {
      create: (context) => ({
        VariableDeclarator({ id, init }) {
          if (id.type !== "ArrayPattern" || !init) return;
          const value = init.type === "TSAsExpression" ? init.expression : init;
          const list = value.type === "CallExpression" &&
              value.callee.type === "MemberExpression" &&
              value.callee.property.type === "Identifier" &&
              value.callee.property.name === "map"
            ? value.callee.object
            : value;
          if (list.type === "ArrayExpression") {
            context.report({ node: id, message: "several declarations" });
          }
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
    /** A value that is named by where it comes from. */
    "no-vague-name": {
      create: (context) => ({
        Identifier(node) {
          if (!VAGUE.includes(node.name)) return;
          const { parent } = node;
          const isInitial = parent.type === "VariableDeclarator" &&
            parent.init === node;
          const isBody = parent.type === "ArrowFunctionExpression" &&
            parent.body === node;
          const isUnpacked = parent.type === "Property" &&
            parent.value === node && parent.parent.type === "ObjectPattern";
          const isDeclared = DECLARING.includes(parent.type) && !isInitial &&
            !isBody;
          if (isDeclared || isUnpacked) {
            context.report({ node, message: "a name that says too little" });
          }
        },
      }),
    },
    /** A contract that is derived from a function: `ReturnType<typeof f>`. */
    "no-derived-contract": {
      create: (context) => ({
        TSTypeQuery(node) {
          const list: Deno.lint.Node = node.parent;
          const user = "parent" in list ? list.parent : undefined;
          const name = user?.type === "TSTypeReference"
            ? user.typeName
            : user?.type === "TSInterfaceHeritage"
            ? user.expression
            : undefined;
          const isDerived = name?.type === "Identifier" &&
            DERIVING.includes(name.name);
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

for (const rule of Object.keys(RULES.rules)) {
  Deno.test(`no file breaks the rule ${rule} of plain code`, () => {
    const broken: string[] = [];
    for (const path of codeFiles()) {
      const text = Deno.readTextFileSync(`${ROOT}${path}`);
      const plugin = { name: "plain", rules: { [rule]: RULES.rules[rule]! } };
      for (const { range } of Deno.lint.runPlugin(plugin, path, text)) {
        broken.push(`${path}:${text.slice(0, range[0]).split("\n").length}`);
      }
    }
    assertEquals(broken, []);
  });
}

/** Paths of the modules in `lib` and `tasks`. */
function codeFiles(): string[] {
  return ["lib", "tasks"].flatMap((folder) =>
    listFiles(`${ROOT}${folder}`, "refuse").map((path) => `${folder}/${path}`)
  ).filter((path) => path.endsWith(".ts"));
}

/** Folders whose comments are wrapped. */
const WRAPPED = ["fixtures", "lib", "tasks"];

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
