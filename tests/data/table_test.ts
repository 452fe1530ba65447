import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { basename, extname, join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { checkHeader, readTable, TABLE_FORMATS } from "../../lib/data/table.ts";

/** Reads the columns text and label of a file, packed if its name says so, and gives line and values of each row. */
async function read(
  name: string,
  text: string | Uint8Array,
  form: Parameters<typeof readTable>[3] = {},
) {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, name);
    const bytes = Buffer.from(text);
    await Deno.writeFile(path, name.endsWith(".gz") ? gzipSync(bytes) : bytes);
    const rows = await readTable(path, ["text", "label"], [], form);
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

Deno.test("readTable() takes the first line that is not blank as the header, as checkHeader() does", async () => {
  for (const [name, mark] of [["a.tsv", "\t"], ["a.csv", ","]] as const) {
    const table = `text${mark}label\na${mark}x\n`;
    for (const before of ["\n", "  \n", `${mark}\n`, `${mark} ${mark}\n`]) {
      for (const broken of [false, true]) {
        const rows = await read(name, before + table, { broken });
        assertEquals(rows, [[`${name}:3`, "a", "x"]]);
      }
    }
  }
});

Deno.test("readTable() names the line and the column of a faulty field, with any line ends in quotes before it", async () => {
  const before = 'text,label\r\n"é\r\n\r\nb",x\r\n\r\n';
  assertIsError(
    await assertRejects(() =>
      read("a.csv", `${before}"a\r\nb",y,z\r\nc,d\r\n`)
    ),
    Error,
    /a\.csv:7:6: Expected 2 columns separated by commas, found 3; put a text that contains commas in quotes$/,
  );
  assertIsError(
    await assertRejects(() => read("a.csv", `${before}a,"y\r\nc,d\r\n`)),
    Error,
    /a\.csv:6:3: A quoted text is not closed; write a quote inside quotes twice \(""\)$/,
  );
  await assertRejects(
    () => read("a.csv", `${before}"a"b,y\r\n`),
    Error,
    "a.csv:6:1: Text follows a closing quote",
  );
  const places = [
    ["b.csv", 'text,label\n"a, ""b"",",y,z\n', "b.csv:2:15: Expected 2"],
    ["b.tsv", 'text\tlabel\n"a\tb"\tc\n', "b.tsv:2:7: Expected 2"],
    [
      "b.jsonl",
      '{"text": "a"}\n{"text" "b"}\n',
      "b.jsonl:2:9: Expected a JSON",
    ],
  ] as const;
  for (const [name, text, place] of places) {
    await assertRejects(() => read(name, text), SyntaxError, place);
  }
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
      "a.TSV.gz",
      "\ufefftext;label\r\na;x\r\n",
      /a\.TSV\.gz" seems to have semicolons between its columns, but its name requires tabs; rename it to "a\.csv\.gz"$/,
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
    'a.csv:2:1: A text without quotes contains a quote; put the whole text in quotes, and write the quote inside it twice ("")',
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

Deno.test("readTable() gives back any texts of a .jsonl, across buffers of any length", async () => {
  const text = fc.string({ unit: "grapheme", maxLength: 300 });
  const long = fc.tuple(text, fc.nat(300)).map(([text, n]) => text.repeat(n));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(text, long), { minLength: 1, maxLength: 30 }),
      async (rows) => {
        const lines = rows.map(([text, label]) =>
          JSON.stringify({ text, label })
        );
        const found = await read("a.jsonl", lines.join("\n"));
        assertEquals(found.map(([, ...values]) => values), rows);
      },
    ),
    { numRuns: 30 },
  );
});

Deno.test("readTable() refuses a line of a .jsonl that is too long, with its place", async () => {
  const row = JSON.stringify({ text: "x".repeat(70_000_000), label: "a" });
  assertIsError(
    await assertRejects(() => read("a.jsonl", `\n${row}\n`)),
    SyntaxError,
    /a\.jsonl:2: The line has more than 67108864 characters/,
  );
});

Deno.test("readTable() refuses a line of a .csv that is too long before it is parsed", async () => {
  const text = `text,label\nshort,a\n${"x".repeat(17_000_000)},b\n`;
  assertIsError(
    await assertRejects(() => read("a.csv", text)),
    SyntaxError,
    /a\.csv:3: The line has more than 16777216 characters/,
  );
});

Deno.test("readTable() names the columns of a file without a header, and keeps broken rows without values if asked", async () => {
  const path = await Deno.makeTempFile({ suffix: ".tsv" });
  await Deno.writeTextFile(path, "x\ta\nb\nc\td\te\ny\tf\n");
  const form = { header: ["label", "text"], broken: true };
  const rows = await readTable(path, ["text"], ["label", "id"], form);
  assertEquals(rows.map(({ values }) => values), [
    ["a", "x", undefined],
    [],
    [],
    ["f", "y", undefined],
  ]);
  assertIsError(
    await assertRejects(() =>
      readTable(path, ["text"], [], { header: form.header })
    ),
    SyntaxError,
    /:2:1: Expected 2 columns separated by tabs, found 1$/,
  );
  await Deno.remove(path);
});

Deno.test("readTable() reads a .csv with semicolons, as spreadsheets write it where the comma is the decimal point", async () => {
  const text =
    'text;"label, or ""kind""; text";label\r\na, b;x;1,5\r\n"c; d";y;-,25\r\n1,5;z;2\r\n';
  assertEquals(await read("a.csv", text), [
    ["a.csv:2", "a, b", "1,5"],
    ["a.csv:3", "c; d", "-,25"],
    ["a.csv:4", "1,5", "2"],
  ]);
  assertEquals(await read("a.csv", text, { numbers: ["label"] }), [
    ["a.csv:2", "a, b", "1.5"],
    ["a.csv:3", "c; d", "-.25"],
    ["a.csv:4", "1,5", "2"],
  ]);
  await assertRejects(
    () => read("a.csv", `${text}e;f\r\n`),
    SyntaxError,
    "a.csv:5:3: Expected 3 columns separated by semicolons, found 2",
  );
  // With commas between its columns, a comma may separate thousands.
  assertEquals(
    await read("b.csv", 'text,label\na,"1,500"\n', { numbers: ["label"] }),
    [["b.csv:2", "a", "1,500"]],
  );
});

const PACKED = {
  "a.tsv.gz": "text\tlabel\nA film\tgood\n",
  "a.csv.gz": "text,label\nA film,good\n",
  "A.JSONL.gz": '\n{"text":"A film","label":"good"}\n',
  "a.json": '[{"text":"A film","label":"good"}]',
  "a.json.gz": '[{"text":"A film","label":"good"}]',
};

for (const [name, text] of Object.entries(PACKED)) {
  Deno.test(`readTable() reads ${name}`, async () => {
    const place = name.startsWith("a.json") ? '", row 1' : ":2";
    const rows = await read(name, text);
    assertEquals(rows.length, 1);
    const [found, ...values] = rows[0]!;
    assert(`${found}`.endsWith(`${name}${place}`));
    assertEquals(values, ["A film", "good"]);
  });
}

Deno.test("readTable() reads a .gz of several parts, and refuses a damaged one and one that is too large", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "a.csv.gz");
  const parts = ["text\na\n", "b\n"].map((part) => gzipSync(part));
  await Deno.writeFile(path, Buffer.concat(parts));
  const rows = await readTable(path, ["text"]);
  assertEquals(rows.map(({ values }) => values), [["a"], ["b"]]);
  for (
    const [bytes, fault] of [
      [parts[0]!.subarray(0, 20), "unexpected end of file"],
      [Buffer.from("text\na\n"), "incorrect header check"],
      [gzipSync(Buffer.alloc(500_000_001)), "larger than 500000000 bytes"],
    ] as const
  ) {
    await Deno.writeFile(path, bytes);
    assertIsError(
      await assertRejects(() => readTable(path, ["text"])),
      SyntaxError,
      new RegExp(`^Cannot unpack "${path}": .*${fault}`),
    );
  }
  await Deno.remove(folder, { recursive: true });
});

for (const name of ["a.tsv", "a.jsonl", "a.json", "a.csv.gz"]) {
  Deno.test(`readTable() refuses ${name} if it is not UTF-8, and reads it by its encoding`, async () => {
    const table = {
      ".tsv": "text\tlabel\ncafé “x”\t€\n",
      ".gz": "text;label\ncafé “x”;€\n",
    }[extname(name)] ??
      `[{"text":"café “x”","label":"€"}]`.slice(
        ...name === "a.jsonl" ? [1, -1] : [],
      );
    const bytes = Uint8Array.from(
      table,
      (it) => ({ "“": 0x93, "”": 0x94, "€": 0x80 })[it] ?? it.charCodeAt(0),
    );
    assertIsError(
      await assertRejects(() => read(name, bytes)),
      SyntaxError,
      new RegExp(
        `${name}" is not valid UTF-8 in line \\d+; name its encoding: -S encoding=latin1 \\(of init and predict, --encoding latin1\\) for`,
      ),
    );
    const rows = await read(name, bytes, { encoding: "latin1" });
    assertEquals(rows.map(([, ...values]) => values), [["café “x”", "€"]]);
  });
}

Deno.test("readTable() names the row of a .json that is no object, and what a .json must be", async () => {
  for (
    const [text, fault] of [
      [
        '[{"text":"a","label":1},[2]]',
        /a\.json", row 2: Expected a JSON object, found "\[2\]"$/,
      ],
      [
        '{"text":["a"]}',
        /a\.json" has no array of JSON objects, one for each row/,
      ],
      [
        '{"text":"a"}\n{"text":"b"}',
        /a\.json:2:1: Not JSON: Unexpected .*; if it has one object per line, rename it to end in \.jsonl$/,
      ],
      ["[]", /a\.json" has no rows$/],
    ] as const
  ) {
    assertIsError(
      await assertRejects(() => read("a.json", text)),
      SyntaxError,
      fault,
    );
  }
});

Deno.test("checkHeader() finds the columns that readTable() would, reading no further than it must", async () => {
  const folder = await Deno.makeTempDir();
  const check = async (name: string, text: string) => {
    const path = join(folder, name);
    const bytes = Buffer.from(text);
    await Deno.writeFile(path, name.endsWith(".gz") ? gzipSync(bytes) : bytes);
    await checkHeader(path, ["text", "label"], {});
  };
  try {
    // What follows the header is left to readTable().
    for (
      const [name, text] of [
        ["a.csv", '\ufefftext,label\n"not closed'],
        ["b.csv", "\n\ntext;label;more\n"],
        ["c.tsv", "label\ttext\r\n1"],
        ["d.csv.gz", "text,label\n"],
        ["e.jsonl", '{"label":1}\n{"text":"a"}\nno JSON'],
        ["h.json", '[{"label":1},{"text":"a"}]'],
        ["f.csv", 'text,"la\nbel",label\n'],
        ["g.csv", "text,label\rgood,1\r"],
      ] as const
    ) await check(name, text);
    for (
      const [name, text, message] of [
        [
          "a.csv",
          "text,labels\n",
          'has no column "label"; it has "text", "labels"',
        ],
        ["e.jsonl", '{"text":1}\n{"labels":2}', 'no column "label"'],
        ["h.json", '[{"text":1,"labels":2}]', 'no column "label"'],
        ["c.tsv", "text,label\n", "seems to have commas between its columns"],
        [
          "d.csv.gz",
          "text;text;label\n",
          'has the column "text" more than once',
        ],
      ] as const
    ) await assertRejects(() => check(name, text), SyntaxError, message);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
