import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspectTable } from "../../lib/data/inspect_table.ts";
import { withFolder } from "../tasks/run_task.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures", import.meta.url));

Deno.test("inspectTable() finds texts, pairs and labels by names, and else by contents", () =>
  withFolder(async (folder) => {
    const write = async (name: string, rows: readonly string[]) => {
      const path = join(folder, name);
      await Deno.writeTextFile(path, rows.map((row) => `${row}\n`).join(""));
      return path;
    };
    const csv = await write("a.csv", [
      "id,said,verdict",
      ...Array.from(
        { length: 60 },
        (_, i) =>
          `${i},"a long text, number ${i} of them",${["good", "bad"][i % 2]}`,
      ),
    ]);
    const found = await inspectTable(csv, {});
    assertEquals(
      [found.text.name, found.pair, found.label.name, found.problem],
      ["said", undefined, "verdict", "classification"],
    );

    const pairs = await write("b.jsonl", [
      ...Array.from(
        { length: 40 },
        (_, i) =>
          JSON.stringify({ premise: "p", hypothesis: "h", score: i / 8 }),
      ),
      JSON.stringify({ premise: "p", hypothesis: null, score: 1 }),
      JSON.stringify({ premise: "p", hypothesis: "h" }),
    ]);
    const scores = await inspectTable(pairs, {});
    assertEquals(
      [scores.text.name, scores.pair?.name, scores.problem],
      ["premise", "hypothesis", "regression"],
    );

    const numbered = await write("g.tsv", [
      "Quality\t#1 ID\t#1 String\t#2 String",
      ...Array.from(
        { length: 30 },
        (_, i) => `${i % 2}\t${i}\ta text, ${i}\tanother text, ${i}`,
      ),
    ]);
    const both = await inspectTable(numbered, {});
    assertEquals(
      [both.text.name, both.pair?.name, both.label.name],
      ["#1 String", "#2 String", "Quality"],
    );

    // Stars are classes, even if they are written as decimals.
    const stars = await write("c.tsv", [
      "text\tstars",
      ...Array.from({ length: 30 }, (_, i) => `t${i}\t${i % 5 + 1}.0`),
    ]);
    assertEquals((await inspectTable(stars, {})).problem, "classification");

    await assertRejects(
      () => inspectTable(csv, { label: "verdikt" }),
      RangeError,
      'no column "verdikt"; it has "id", "said", "verdict"',
    );
    for (
      const [name, separator, labels] of [
        ["h.tsv", "\t", ["1", "0"]],
        ["i.csv", ",", ["yes", "no"]],
        ["j.csv", ",", ["0.5", "1.25", "2.5"]],
      ] as const
    ) {
      const rows = Array.from(
        { length: 12 },
        (_, i) => `a text ${i}${separator}${labels[i % labels.length]}`,
      );
      const headless = await write(name, rows);
      await assertRejects(
        () => inspectTable(headless, {}),
        RangeError,
        "seems to be an example",
      );
    }
    const one = await write("k.tsv", ["text\t1", "bad one\t0", "a third\t1"]);
    assertEquals((await inspectTable(one, { label: "1" })).label.name, "1");
    const same = await write("e.csv", ["text,label", "a,1", "b,1"]);
    await assertRejects(
      () => inspectTable(same, { label: "label" }),
      RangeError,
      "distinct values: 1, expected 2 to 1000",
    );
    const constant = await write("h.csv", [
      "text,label,lang",
      "a,1,en",
      "b,1,de",
    ]);
    await assertRejects(
      () => inspectTable(constant, {}),
      RangeError,
      'Column "label" of',
    );
    const repeated = await write("i.csv", [
      "text,label,,,note,note",
      "a,1,,,x,y",
      "b,2,,,x,y",
    ]);
    const unique = await inspectTable(repeated, {});
    assertEquals([unique.text.name, unique.label.name], ["text", "label"]);
    assertEquals(unique.columns, ["text", "label", "", "", "note", "note"]);
    for (const header of ["text,label,label,kind", "text,text,kind,label"]) {
      const path = await write("j.csv", [header, "a,b,1,2", "c,d,2,1"]);
      await assertRejects(
        () => inspectTable(path, {}),
        SyntaxError,
        "more than once, as columns",
      );
    }
    await assertRejects(
      () => inspectTable(repeated, { pair: "note" }),
      SyntaxError,
      'the column "note" more than once, as columns 5 and 6; rename all but one',
    );
    await assertRejects(
      () => inspectTable(repeated, { text: "text", label: "text" }),
      RangeError,
      'Column "text" is named more than once: give --text, --pair and --label different columns',
    );
    const ids = await write("f.csv", [
      "text",
      ...Array.from({ length: 60 }, (_, i) => `text number ${i}`),
    ]);
    await assertRejects(() => inspectTable(ids, {}), RangeError, "--label");
  }));

Deno.test("inspectTable() reads parquet, and estimates a length that holds 99 % of the texts", async () => {
  const path = join(FIXTURES, "tiny-hub/rte/train-00000-of-00001.parquet");
  const seen = await inspectTable(path, {});
  assertEquals(
    [seen.text.name, seen.pair?.name, seen.label.name],
    ["sentence1", "sentence2", "label"],
  );
  assert(seen.tokens % 32 === 0 && seen.tokens >= 32 && seen.tokens <= 512);
  assert(seen.text.longest / 3 + 4 <= seen.tokens);
});

Deno.test("inspectTable() takes class ids whose names the file records as these classes, however many", async () => {
  const path = join(FIXTURES, "tiny-intents/train.parquet");
  const seen = await inspectTable(path, {});
  assertEquals([seen.label.name, seen.problem], ["label", "classification"]);
});

Deno.test("inspectTable() refuses labels that are all lists of lists, or dates", () =>
  withFolder(async (folder) => {
    const all = join(folder, "all.jsonl");
    const rows = ["neg", "pos"].map((it) => ({
      text: "a text",
      label: [[it]],
    }));
    await Deno.writeTextFile(
      all,
      rows.map((it) => JSON.stringify(it)).join("\n"),
    );
    await assertRejects(
      () => inspectTable(all, {}),
      RangeError,
      `Column "label" of "${all}" has a list in each row, expected text, a number or a boolean`,
    );
    const times = join(FIXTURES, "tiny-intents/train.parquet");
    await assertRejects(
      () => inspectTable(times, { label: "sent" }),
      RangeError,
      "has a date in each row",
    );
  }));

Deno.test("inspectTable() finds words with tags, and texts with spans, unless a column looks like labels of whole texts", () =>
  withFolder(async (folder) => {
    const found = async (...rows: object[]) => {
      const path = join(folder, "a.jsonl");
      const lines = rows.map((it) => `${JSON.stringify(it)}\n`);
      await Deno.writeTextFile(path, lines.join(""));
      const { problem, text, label } = await inspectTable(path, {});
      return [problem, text.name, label.name, text.longest];
    };
    assertEquals(
      await found(
        { id: ["x"], tokens: ["a", "b"], ner_tags: ["O", "B-x"] },
        { id: ["y"], tokens: ["a"], ner_tags: [] },
      ),
      ["tokens", "tokens", "ner_tags", 3],
    );
    const entities = [{ start: 0, end: 1, label: "x" }];
    assertEquals(
      await found({ said: "a b", entities }, { said: "a b", entities: [] }),
      ["tokens", "said", "entities", 3],
    );
    assertEquals(
      await found(
        { text: "a b", tags: ["film"], label: "good" },
        { text: "a c", tags: [], label: "bad" },
      ),
      ["classification", "text", "label", 3],
    );
  }));

Deno.test("inspectTable() recognizes several labels of a text: lists, lists in JSON, names with a separator, and columns of 0 and 1", () =>
  withFolder(async (folder) => {
    const write = async (name: string, lines: readonly string[]) => {
      const path = join(folder, name);
      await Deno.writeTextFile(path, lines.join("\n"));
      return path;
    };
    const found = async (path: string, named = {}) => {
      const { problem, text, label, separator, marks } = await inspectTable(
        path,
        named,
      );
      const names = marks?.map(({ name }) => name);
      return [problem, text.name, names ?? label.name, separator];
    };
    const lists = [["joy", "hope"], ["joy"], [], ["hope", "fear"]];
    const sets = ["joy|hope", "joy", "hope", "fear|joy", "fear|hope"];
    for (const name of ["label", "emotions", "tags"]) {
      const jsonLines = await write(
        "a.jsonl",
        lists.map((it, i) => JSON.stringify({ [name]: it, said: `text ${i}` })),
      );
      assertEquals(
        await found(jsonLines),
        ["multi-label", "said", name, undefined],
      );
      const cells = await write("b.tsv", [
        `${name}\tsaid`,
        ...lists.map((it, i) => `${JSON.stringify(it)}\ta text, ${i}`),
      ]);
      assertEquals(await found(cells), ["multi-label", "said", name, "auto"]);
      for (const separator of ["|", ";", ", "]) {
        const path = await write("c.tsv", [
          `text\t${name}`,
          ...sets.map((it, i) =>
            `one, two and ${i}\t${it.replace("|", separator)}`
          ),
        ]);
        assertEquals(
          await found(path),
          ["multi-label", "text", name, separator.trim()],
        );
      }
    }
    const columns = await write("d.csv", [
      "joy,text,hope,fear",
      ...Array.from(
        { length: 8 },
        (_, i) => `${i & 1},text ${i},${(i >> 1) & 1},${i >> 2}`,
      ),
    ]);
    assertEquals(
      await found(columns),
      ["multi-label", "text", ["joy", "hope", "fear"], undefined],
    );
    assertEquals(
      await found(columns, { label: "hope" }),
      ["classification", "text", "hope", undefined],
    );
  }));

Deno.test("inspectTable() takes names with commas, numbers and few columns of 0 and 1 for what they are", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.tsv");
    const names = ["Paris, France", "Lyon, France", "Rome, Italy", "Oslo"];
    const rows = Array.from({ length: 20 }, (_, i) => (
      { text: `a text ${i}`, label: names[i % 4], a: i % 2, b: i % 3 === 0 }
    ));
    for (
      const labelOf of [
        ({ label }: typeof rows[number]) => label,
        ({ a }: typeof rows[number]) => `${a},5`,
      ]
    ) {
      await Deno.writeTextFile(
        path,
        `text\tlabel\tx\ty\n${
          rows.map((it) =>
            [it.text, labelOf(it), it.a, Number(it.b)].join("\t")
          ).join("\n")
        }`,
      );
      const { problem, label } = await inspectTable(path, {});
      assertEquals([problem, label.name], ["classification", "label"]);
    }
  }));
