import {
  assertEquals,
  assertIsError,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { GLUE_TASKS, type GlueTask } from "../../lib/benchmarks/glue.ts";
import { classesOf, toExamples } from "../../lib/data/own_data.ts";
import { readTable, TABLE_FORMATS } from "../../lib/data/table.ts";
import { readTsv } from "../../lib/benchmarks/tsv.ts";

/** Reads the columns text and label of a file, and gives line and values of each row. */
async function read(name: string, text: string) {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, name);
    await Deno.writeTextFile(path, text);
    const rows = await readTable(path, ["text", "label"]);
    return rows.map(({ place, values }) => [basename(place), ...values]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (
  const [ends, [header, first, second, third]] of [
    ["LF before CRLF", ["\n", "\n", "\r\n", "\r\n"]],
    ["CRLF before LF", ["\r\n", "\n", "\n", "\n"]],
    ["CRLF at one row", ["\n", "\n", "\r\n", ""]],
    ["CR alone, as of an old Macintosh", ["\r", "\r", "\r", ""]],
  ] as const
) {
  for (const [name, mark] of [["a.tsv", "\t"], ["a.csv", ","]] as const) {
    Deno.test(`readTable() ends the lines of ${name} at ${ends}`, async () => {
      const text =
        `text${mark}label${header}a b${mark}pos${first}c d${mark}neg${second}e f${mark}pos${third}`;
      assertEquals(await read(name, text), [
        [`${name}:2`, "a b", "pos"],
        [`${name}:3`, "c d", "neg"],
        [`${name}:4`, "e f", "pos"],
      ]);
    });
  }
}

Deno.test("readTable() keeps line ends of both kinds in quotes, and skips empty lines of both", async () => {
  const rows = await read(
    "a.csv",
    'text,label\n\r\n"a\r\nb",x\r\n\n"c\nd","y"\n',
  );
  assertEquals(rows, [
    ["a.csv:3", "a\r\nb", "x"],
    ["a.csv:6", "c\nd", "y"],
  ]);
});

Deno.test("readTable() drops rows of empty cells below a table, as spreadsheets write them, and no others", async () => {
  for (const [name, mark] of [["a.tsv", "\t"], ["a.csv", ","]] as const) {
    const row = (text: string, label: string) => `${text}${mark}${label}\r\n`;
    const table = [row("text", "label"), row("a", "x"), row("", "")];
    const below = [row("", ""), row(" ", ""), row("", "")];
    assertEquals(
      await read(name, [...table, row("", "y"), ...below].join("")),
      [
        [`${name}:2`, "a", "x"],
        [`${name}:3`, "", ""],
        [`${name}:4`, "", "y"],
      ],
    );
  }
});

Deno.test("readTable() names the line on which a faulty record begins, with any line ends in its quotes", async () => {
  const before = 'text,label\r\n"é\r\n\r\nb",x\r\n\r\n';
  assertIsError(
    await assertRejects(() =>
      read("a.csv", `${before}"a\r\nb",y,z\r\nc,d\r\n`)
    ),
    Error,
    /a\.csv:6: Expected 2 columns separated by commas, found 3; put a text that contains commas in quotes$/,
  );
  assertIsError(
    await assertRejects(() => read("a.csv", `${before}a,"y\r\nc,d\r\n`)),
    Error,
    /a\.csv:6: A quoted text is not closed; write a quote inside quotes twice \(""\)$/,
  );
  await assertRejects(
    () => read("a.csv", `${before}"a"b,y\r\n`),
    Error,
    "a.csv:6: Text follows a closing quote",
  );
});

Deno.test("readTable() guesses what separates the columns if it is not what the name of the file says", async () => {
  const cases: [name: string, text: string, message: RegExp][] = [
    [
      "a.csv",
      "text\tlabel\na, b\tx\n",
      /a\.csv" seems to have tabs between its columns, but its name requires commas; rename it to "a\.tsv"$/,
    ],
    [
      "a.tsv",
      "text,label\nb,x\n",
      /a\.tsv" seems to have commas between its columns, but its name requires tabs; rename it to "a\.csv"$/,
    ],
    [
      "a.csv",
      "\ufefftext;label\r\na;x\r\n",
      /a\.csv" seems to have semicolons between its columns, but its name requires commas; save it with commas$/,
    ],
  ];
  for (const [name, text, message] of cases) {
    assertIsError(
      await assertRejects(() => read(name, text)),
      SyntaxError,
      message,
    );
  }
});

Deno.test("readTable() says how quotes are written", async () => {
  await assertRejects(
    () => read("a.csv", 'text,label\na "b" c,x\n'),
    SyntaxError,
    'a.csv:2: A text without quotes contains a quote; put the whole text in quotes, and write the quote inside it twice ("")',
  );
});

Deno.test("readTable() rejects a column that the header has twice, unless it is not requested", async () => {
  await assertRejects(
    () => read("a.tsv", "label\ttext\tid\tlabel\n1\ta\t7\t2\n"),
    Error,
    'a.tsv" has the column "label" more than once, as columns 1 and 4; rename',
  );
  assertEquals(await read("a.tsv", "id\ttext\tid\tlabel\n1\ta\t7\t2\n"), [[
    "a.tsv:2",
    "a",
    "2",
  ]]);
});

const glue = Deno.env.get("DYLORA_GLUE");
for (const task of Object.values<GlueTask>(GLUE_TASKS)) {
  const folder = glue && join(glue, task.tsvFolder ?? task.title);
  if (task.tsvBroken) continue;
  Deno.test({
    name: `readTable() reads the real ${task.title} as readTsv() does`,
    ignore: !folder || !existsSync(folder),
    async fn() {
      for (const [split, file] of Object.entries(task.tsvFiles)) {
        const path = join(folder!, file);
        const headless = task.tsvHeader && split !== "test";
        if (headless || !existsSync(path)) continue;
        const rows = await readTable(path, task.tsvColumns);
        const { examples } = await readTsv(path, task, split);
        assertEquals(
          rows.map(({ place, values }) => [place, ...values]),
          examples.map(({ text, pair }, i) => [
            `${path}:${i + 2}`,
            text,
            ...pair === undefined ? [] : [pair],
          ]),
        );
      }
    },
  });
}

/** Rows of one text with these labels, from line 2 on. */
function rowsOf(labels: readonly unknown[]) {
  return labels.map((label, i) => ({
    place: `a.jsonl:${i + 2}`,
    values: ["text", label],
  }));
}

/** What a label becomes in a regression. */
function scoreOf(label: unknown) {
  return toExamples(rowsOf([label]), { kind: "score" })[0]!.label;
}

Deno.test("toExamples() takes numbers in any decimal notation as scores", () => {
  const labels = [4, 4.5, -2n, "0", " 3 ", "+.5", "-5.", "1.5e-3", "2E2"];
  assertEquals(labels.map(scoreOf), [4, 4.5, -2, 0, 3, 0.5, -5, 0.0015, 200]);
});

for (
  const [label, found] of [
    ["", "nothing"],
    [" ", "nothing"],
    ["\t", "nothing"],
    [null, "nothing"],
    [undefined, "nothing"],
    ["0x10", '"0x10"'],
    ["1,5", '"1,5"'],
    ["1e999", '"1e999"'],
    ["Infinity", '"Infinity"'],
    [NaN, "NaN"],
    [Infinity, "Infinity"],
    [true, "true"],
    [[], "a list"],
    [[4], "a list"],
    [new Date(0), "a date"],
  ] as const
) {
  Deno.test(`toExamples() refuses ${Deno.inspect(label)} as a score, with its place`, () => {
    assertEquals(
      assertThrows(() => scoreOf(label), SyntaxError).message,
      `a.jsonl:2: Expected a number as the label, found ${found}`,
    );
  });
}

Deno.test("classesOf() and toExamples() leave out spaces around the name of a class", () => {
  const rows = rowsOf(["pos ", "neg\r", "pos", "\tneg"]);
  const names = classesOf(rows);
  assertEquals(names, ["neg", "pos"]);
  const examples = toExamples(rows, { kind: "classes", names });
  assertEquals(examples.map(({ label }) => label), [1, 0, 1, 0]);
});

for (
  const [label, found] of [
    ["   ", "nothing"],
    [NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [
      2 ** 53,
      "9007199254740992, which is not exact as a number: write it in quotes",
    ],
    [["pos"], "a list"],
  ] as const
) {
  Deno.test(`classesOf() refuses ${Deno.inspect(label)} as a class, with its place`, () => {
    assertEquals(
      assertThrows(
        () => classesOf(rowsOf(["pos", "neg", label])),
        SyntaxError,
      ).message,
      `a.jsonl:4: Expected a label, found ${found}`,
    );
  });
}

Deno.test("toExamples() refuses a text of more than four million characters, with its place", () => {
  const rows = [1, 0].map((more, i) => ({
    place: `a.csv:${i + 2}`,
    values: ["x".repeat(4_000_000 + more), "1"],
  }));
  assertEquals(toExamples(rows.slice(1), undefined).length, 1);
  assertIsError(
    assertThrows(() => toExamples(rows, undefined), SyntaxError),
    SyntaxError,
    /^a.csv:2: The text has 4000001 characters; the maximum is 4000000/,
  );
});

Deno.test("readTable() refuses a folder with the name of a table, as Spark writes it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const end of TABLE_FORMATS) {
      const path = join(folder, `a${end}`);
      await Deno.mkdir(path);
      await assertRejects(
        () => readTable(path, ["text", "label"]),
        SyntaxError,
        `"${path}" is a folder, such as Spark writes: give a single file`,
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readTable() refuses a table that is too large to decode, naming other formats", async () => {
  const path = await Deno.makeTempFile({ suffix: ".csv" });
  await Deno.truncate(path, 600_000_000);
  const error = await assertRejects(() => readTable(path, ["text"]));
  assertIsError(error, SyntaxError, /has 600000000 bytes.*to .jsonl or .parq/);
  await Deno.remove(path);
});
