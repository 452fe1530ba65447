import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/yaml";
import fc from "fast-check";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readDocument } from "../../lib/pipeline/places.ts";
import { readYaml } from "../../lib/pipeline/read.ts";
import { staysBounded, testProperty } from "../fuzz.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The value of a text, or its faults. */
async function read(text: string): Promise<unknown> {
  const { value, document } = await readYaml(text);
  return document?.faults.length
    ? document.faults.map(({ message }) => message)
    : value;
}

/** Whether `@std/yaml` alone reads a text. */
async function isReadAlone(text: string): Promise<boolean> {
  return (await readYaml(text)).document === undefined;
}

/** Checks that what one reader reads alone is what the other reads. */
async function readersAgree(text: string): Promise<void> {
  const { value, document } = await readYaml(text);
  if (document !== undefined) return;
  const other = readDocument(text);
  assertEquals(other.faults, [], JSON.stringify(text));
  assertEquals(value, other.value, JSON.stringify(text));
}

Deno.test("readYaml() refuses text behind a list, a mapping or quotes on the same line", async () => {
  for (
    const text of [
      "a: [1] b: 2",
      "a: { x: 1 }  b: 2",
      'a: "x" b: 2',
      "a: 'x'  b: 2",
      'a: { x: "y" z: 1 }',
    ]
  ) {
    const faults = await read(`${text}\n`);
    assert(Array.isArray(faults), `${text}: ${JSON.stringify(faults)}`);
  }
  for (const text of ['a: "x" # c', "a: [1] # c", "a: ['x' , { b: 1 } ]"]) {
    assert(await isReadAlone(`${text}\n`), text);
  }
});

Deno.test("readYaml() reads scalars by the core schema of YAML 1.2", async () => {
  const forms: readonly (readonly [string, unknown])[] = [
    ["", null],
    ["~", null],
    ["null", null],
    ["true", true],
    ["False", false],
    ["yes", "yes"],
    ["off", "off"],
    ["1", 1],
    ["-5", -5],
    ["+5", 5],
    ["0x1F", 31],
    ["5e-4", 5e-4],
    [".5", 0.5],
    ["1.", 1],
    ["1e400", Infinity],
    [".inf", Infinity],
    ["-.inf", -Infinity],
    [".nan", NaN],
    ["2024-01-05", "2024-01-05"],
    ["2024-01-05T10:00:00Z", "2024-01-05T10:00:00Z"],
    ["12:30", "12:30"],
    ["1e5_0", "1e5_0"],
    ["'010'", "010"],
    ['"\\x41\\n"', "A\n"],
    ["a b # c", "a b"],
    ["|\n  a\n  b", "a\nb\n"],
    [">-\n  a\n  b\n\n  c", "a b\nc"],
    ["[1, [2], { b: 3 }]", [1, [2], { b: 3 }]],
    ["!!str 1", "1"],
    ["${params.x}", "${params.x}"],
    ["[t[a, *], ${params.x[matrix.y]}]", ["t[a, *]", "${params.x[matrix.y]}"]],
  ];
  for (const [text, value] of forms) {
    assertEquals(await read(`a: ${text}`), { a: value }, text);
  }
});

Deno.test("readYaml() refuses values that YAML readers read differently", async () => {
  const remedy = "; write a plain decimal number, or put text in quotes";
  const forms: Readonly<Record<string, string>> = {
    "010": 'YAML 1.2 reads "10", some readers read "8"',
    "08": 'YAML 1.2 reads "8", some readers read text "08"',
    "0o17": 'YAML 1.2 reads "15", some readers read text "0o17"',
    "0b11": 'YAML 1.2 reads text "0b11", some readers read "3"',
    "-0x1F": 'YAML 1.2 reads text "-0x1F", some readers read "-31"',
    "1_000": 'YAML 1.2 reads text "1_000", some readers read "1000"',
    "1_0.5": 'YAML 1.2 reads text "1_0.5", some readers read "10.5"',
    "+.5": 'YAML 1.2 reads "0.5", some readers read text "+.5"',
  };
  for (const [text, readings] of Object.entries(forms)) {
    assertEquals(await read(`a: [x, ${text}]`), [
      `Ambiguous value "${text}": ${readings}${remedy}`,
    ]);
  }
});

Deno.test("readYaml() reads anchors and aliases, and leaves the merge key to pipelines", async () => {
  assertEquals(await read("a: &x [1]\nb: *x"), { a: [1], b: [1] });
  assertEquals(await read("a: &x { k: 1 }\nb: { <<: *x, c: 2 }"), {
    a: { k: 1 },
    b: { "<<": { k: 1 }, c: 2 },
  });
  assertEquals(await read("a: &x [*x]"), [
    'Alias "*x" is inside its own anchor',
  ]);
  assertEquals(await read("a: [*x]"), ['Alias "*x" has no anchor before it']);
  // The library takes what follows such an alias for its value.
  assertEquals(await read("a: &x 0\nb: *x"), [
    'Ambiguous alias "*x": YAML 1.2 reads "0", some readers read nothing; repeat the value instead',
  ]);
});

Deno.test("readYaml() rejects anything but one document of plain data", async () => {
  const forms: readonly (readonly [string, string])[] = [
    ["", "The file is empty"],
    ["# only a comment", "The file is empty"],
    [
      "a: 1\n---\nb: 2",
      "YAML syntax: Found more than 1 document in the stream: expected a single document",
    ],
    ["a: 1\na: 2", 'Duplicate key "a"'],
    ["1: 1\n'1': 2", 'Duplicate key "1"'],
    ["[a]: 1", "A key must be text"],
    ["null: 1", "A key must be text"],
    ["__proto__: 1", '"__proto__" is not allowed as a key'],
    [
      "a: !!binary aaaa",
      'Tag "tag:yaml.org,2002:binary" is not allowed; remove it',
    ],
    [
      "a: 12345678901234567890",
      "Integer 12345678901234567890 is too large to be exact; put quotes around it if it is text",
    ],
    ["a: \ue001", "Characters U+E000 to U+E004 are not allowed"],
    [
      `a: ${"[".repeat(200)}${"]".repeat(200)}`,
      "Nested too deeply; the maximum depth is 100",
    ],
  ];
  for (const [text, message] of forms) {
    assertEquals(await read(text), [message], text);
  }
});

Deno.test("readYaml() needs one reader for common forms", async () => {
  const common = `name: test # a comment
params: { lr: 5e-4, ranks: [1, 2.5], text: "a: b", other: 'it''s', none: ~ }
stages:
  "8":
    show:
      - a/b.md
      - [c, d]
    text: >-
      one
      two
    from: train[glue, *]
    train: {
      lr: \${params.lr},
    }
`;
  assert(await isReadAlone(common));
  for (const { name } of Deno.readDirSync(join(ROOT, "pipelines"))) {
    if (!name.endsWith(".yaml")) continue;
    const text = Deno.readTextFileSync(join(ROOT, "pipelines", name));
    assert(await isReadAlone(text), name);
  }
});

/** YAML in the files of a folder: whole files, blocks of Markdown, and templates of tests. */
function* yamlIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
    if (["node_modules", "out"].includes(name) || name.startsWith(".")) {
      continue;
    }
    const path = join(folder, name);
    if (isDirectory) {
      yield* yamlIn(path);
    } else if (/\.ya?ml$/.test(name)) {
      yield Deno.readTextFileSync(join(ROOT, path));
    } else if (/\.(md|ts)$/.test(name)) {
      const text = Deno.readTextFileSync(join(ROOT, path));
      const found = name.endsWith(".md")
        ? text.matchAll(/^```yaml\n(.*?)^```/gms)
        : text.matchAll(/`([^`]*\bstages:[^`]*)`/g);
      for (const [, yaml] of found) yield yaml!.replaceAll("\\$", "$");
    }
  }
}

Deno.test("both readers read the YAML of this project the same", async () => {
  const texts = [...yamlIn(".")];
  assert(texts.length > 40, `${texts.length}`);
  for (const text of texts) {
    await readersAgree(text);
    const { value, document } = await readYaml(text);
    if (document?.faults.length || /[$[]/.test(text)) continue;
    assertEquals(value, parse(text, { schema: "core" }));
  }
});

const SCALARS = `x|x y|1|-1|1.5|1e3|.5|5.|0|-0|007|0o7|0x1F|0b1|1_000|+1|+.5|\
.inf|.nan|true|no|null|~|'q r'|'it''s'|"d \\" e"|"a\\nb"|"open|'open|[1, 2]|\
{ a: 1, b: [x] }|{a: x,b}|[[a],|[]|{}|[|{|]|}|\${params.x}|t[a, *]|- x|- |-|\
a: b|a:|<<: y|<<|&a x|*a|!!str 1|x # c|# c|x #|12:30|2024-01-05|@x|%x|?|? x|: x`
  .split("|").concat("|", ">-", "x: |", "y: >", "|+", ">2");

/** Lines of block style with keys, values and indentations that may not fit. */
const lines = fc.array(
  fc.tuple(
    fc.constantFrom("", "", "  ", "  ", "    ", " ", "      "),
    fc.constantFrom("", "- ", "- - ", "a: ", "b: ", "c: ", "- a: ", '"q": '),
    fc.constantFrom(...SCALARS),
  ).map((parts) => parts.join("")),
  { maxLength: 6 },
).map((it) => it.join("\n") + "\n");

/** Tokens in any order. */
const tokens = fc.array(
  fc.constantFrom(
    ...SCALARS,
    ..." \n:\n-\n,\n#\n\"\n'\n |\n>\n---\n...\n\r\n\t\né\n😀\n\u0085".split(
      "\n",
    ),
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    ", ",
    "\r\n",
  ),
  { maxLength: 12 },
).map((it) => it.join(""));

/** Sound values, printed in flow style with a key for each. */
const values = fc.dictionary(
  fc.string({ maxLength: 5, unit: "grapheme" }),
  fc.jsonValue({ maxDepth: 3 }),
).map((it) => JSON.stringify(it, null, 2));

testProperty(
  "both readers read the YAML lines that they accept the same",
  () =>
    staysBounded(
      fc.array(fc.oneof(lines, tokens), { minLength: 20, maxLength: 20 }),
      async (texts) => {
        for (const text of texts) await readersAgree(text);
      },
    ),
);

testProperty(
  "both readers read JSON the same",
  () =>
    staysBounded(values, async (text) => {
      await readersAgree(text);
      const { value, document } = await readYaml(text);
      if (document?.faults.length) return;
      assertEquals(value, JSON.parse(text));
    }),
);
