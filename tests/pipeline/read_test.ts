import { assertEquals } from "@std/assert";
import { readYaml } from "../../lib/pipeline/read.ts";

/** The value of a text, or its faults. */
async function read(text: string): Promise<unknown> {
  const { value, faults } = await readYaml(text);
  return faults.length > 0 ? faults.map(({ message }) => message) : value;
}

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

Deno.test("readYaml() reads anchors and aliases, and leaves the merge key to pipelines", async () => {
  assertEquals(await read("a: &x [1]\nb: *x"), { a: [1], b: [1] });
  assertEquals(await read("a: &x { k: 1 }\nb: { <<: *x, c: 2 }"), {
    a: { k: 1 },
    b: { "<<": { k: 1 }, c: 2 },
  });
});

Deno.test("readYaml() rejects anything but one document of plain data", async () => {
  const forms: readonly (readonly [string, string])[] = [
    [
      "a: 1\n---\nb: 2",
      "YAML syntax: Found more than 1 document in the stream: expected a single document",
    ],
    ["a: 1\na: 2", "YAML syntax: Map keys must be unique"],
    ["1: 1\n'1': 2", "YAML syntax: Cannot store mapping pair: duplicated key"],
    [
      "a: !!binary aaaa",
      "YAML syntax: Cannot resolve unknown tag !<tag:yaml.org,2002:binary>",
    ],
    ["a: [*x]", 'YAML syntax: Cannot read alias: unidentified alias "x"'],
  ];
  for (const [text, message] of forms) {
    assertEquals(await read(text), [message], text);
  }
});
