import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import type { Row } from "../../lib/data/columns.ts";
import { readTable } from "../../lib/data/table.ts";
import { schemeOf, wordsIn } from "../../lib/problems/entities.ts";
import {
  checkTags,
  formOf,
  mixedTags,
  readTagged,
  tagClasses,
  type TaggedText,
} from "../../lib/problems/tagged_text.ts";
import { tagColumn } from "../../lib/problems/tokens.ts";
import { withFolder } from "../tasks/run_task.ts";

/** The rows of a file with this content, whose place is its name. */
async function rowsOf(
  name: string,
  content: string,
  columns: readonly string[] = ["tokens", "tags"],
): Promise<Row[]> {
  let rows: Row[] = [];
  await withFolder(async (folder) => {
    const path = join(folder, name);
    await Deno.writeTextFile(path, content);
    rows = (await readTable(path, columns)).map((row) => ({
      ...row,
      place: row.place.replace(path, name),
    }));
  });
  return rows;
}

const read = (rows: readonly Row[]) => {
  const widened: string[] = [];
  const found = readTagged(rows, true, "BIO", widened);
  assertEquals(widened, []);
  return found;
};

const CONLL = `-DOCSTART- -X- O

EU NNP B-ORG
rejects VBZ O
German JJ B-MISC

Peter NNP B-PER
Blackburn NNP I-PER
`;

Deno.test("readTable() reads the sentences of CoNLL files, by tabs or spaces, with the line of each", async () => {
  const byTabs = CONLL.replaceAll(" ", "\t");
  for (const content of [CONLL, byTabs, CONLL.replaceAll("\n", "\r")]) {
    const [first, second, ...more] = read(await rowsOf("a.conll", content));
    assertEquals(more, []);
    assertEquals(first!.text, "EU rejects German");
    assertEquals(first!.words, [[0, 2], [3, 10], [11, 17]]);
    assertEquals(first!.tags, ["B-ORG", "O", "B-MISC"]);
    assertEquals(second!.tags, ["B-PER", "I-PER"]);
    assertEquals([second!.place, second!.wordPlace(1)], [
      "a.conll:7",
      "a.conll:8",
    ]);
  }
  const [{ values }] = await rowsOf("a.conll", CONLL, ["2"]) as [Row];
  assertEquals(values, [["NNP", "VBZ", "JJ"]]);
});

Deno.test("readTable() refuses a line of a CoNLL file with other columns, and names those that there are", async () => {
  await assertRejects(
    () => rowsOf("a.conll", "EU\tB-ORG\nrejects\n"),
    SyntaxError,
    "a.conll:2: Expected 2 columns separated by tabs or spaces, found 1",
  );
  await assertRejects(
    () => rowsOf("a.conll", "EU\tNNP\tB-ORG\n", ["label"]),
    SyntaxError,
    'has no column "label"; it has "tokens", "2", "tags"',
  );
});

/** Rows of JSON, from line 1. */
const json = (...values: unknown[][]): Row[] =>
  values.map((values, i) => ({ place: `a.jsonl:${i + 1}`, values }));

const span = (start: number, end: number, label: string) => (
  { start, end, label }
);

Deno.test("readTagged() takes spans in characters to the words of a text", () => {
  const text = "\u{1f600} Anna Bell, in Z\u00fcrich.";
  const [found] = read(json([text, [
    span(2, 11, "PER"),
    span(16, 22, "LOC"),
  ]])) as [TaggedText];
  assertEquals(
    found.words.map((it) => text.slice(...it)),
    ["\u{1f600}", "Anna", "Bell", ",", "in", "Z\u00fcrich", "."],
  );
  assertEquals(found.tags, ["O", "B-PER", "I-PER", "O", "O", "B-LOC", "O"]);
});

Deno.test("readTagged() takes a span that ends inside a word to the end of the word, and says so", () => {
  const places: string[] = [];
  const [found] = readTagged(
    json(["iPhone6s sold", [span(0, 6, "product")]]),
    true,
    "BIO",
    places,
  );
  assertEquals(found!.tags, ["B-product", "O"]);
  assertEquals(places, ["a.jsonl:1"]);
});

Deno.test("readTagged() refuses overlapping and wrong spans and unequal lists, all at once with their places", () => {
  const error = assertThrows(
    () =>
      read(json(
        ["a b c", [span(0, 3, "X"), span(2, 5, "Y")]],
        ["a b c", [span(4, 9, "X")]],
        [["a", "b"], ["O"]],
        ["a", "O"],
        [["a", ""], ["O", "O"]],
        [7, []],
      )),
    SyntaxError,
  );
  assertEquals(error.message.split("\n"), [
    'a.jsonl:1: The spans 0 to 3 "X" and 2 to 5 "Y" overlap',
    'a.jsonl:2: Expected a span { "start", "end", "label" } of words within 5 characters, found "{"start":4,"end":9,"label":"X"}"',
    "a.jsonl:3: Found 2 words, but 1 tags",
    'a.jsonl:4: Expected a list of spans, found "O"',
    "a.jsonl:5, word 2: Expected a word, found nothing",
    "a.jsonl:6: Expected a list of words or a text, found 7",
  ]);
});

Deno.test("checkTags() refuses all tags that the scheme forbids with their lines, or repairs them", async () => {
  const texts = read(
    await rowsOf("a.conll", "a I-x\nb B-x\nc O\nd I-y\n\ne B-x\nf I-y\n"),
  );
  const scheme = schemeOf(texts.map(({ tags }) => tags!));
  assertEquals(scheme, "BIO");
  const error = assertThrows(
    () => checkTags(texts, scheme),
    SyntaxError,
  );
  assertEquals(error.message.split("\n"), [
    "3 tags are forbidden in BIO: correct them, or repair them by -S tags=repair",
    'a.conll:1: "I-x" starts a sentence',
    'a.conll:4: "I-y" follows "O"',
    'a.conll:7: "I-y" follows "B-x"',
  ]);
  const said: unknown[] = [];
  const repaired = checkTags(texts, scheme, (what) => said.push(what));
  assertEquals(repaired.map(({ tags }) => tags), [
    ["B-x", "B-x", "O", "B-y"],
    ["B-x", "B-y"],
  ]);
  assertEquals(said, [
    '3 tags are forbidden in BIO, first a.conll:1: "I-x" starts a sentence',
  ]);
});

Deno.test("checkTags() writes IOB1 as BIO, and tagClasses() has all tags of each type", async () => {
  const texts = read(await rowsOf("a.conll", "a I-x\nb B-x\nc O\nd I-y\n"));
  const scheme = schemeOf(texts.map(({ tags }) => tags!));
  assertEquals(scheme, "IOB1");
  const [found] = checkTags(texts, scheme);
  assertEquals(found!.tags, ["B-x", "B-x", "O", "B-y"]);
  assertEquals(tagClasses([found!], scheme), ["O", "B-x", "I-x", "B-y", "I-y"]);
});

Deno.test("wordsIn() cuts a text into words of the form of the given ones", () => {
  const wordsOf = (text: string, given: string) =>
    wordsIn(text, formOf(given.split(" "))).map((it) => text.slice(...it));
  // As in CoNLL and in WNUT-17.
  const given =
    "@paul It 's I 'm 10:30 at Coca-Cola http://t.co/a1b , I do n't say : U.S. is . No . ' ( #a )";
  assertEquals(
    wordsOf(
      "@anna's not-so-good (#tag) at http://x.org/b. Don't: 9:15!",
      given,
    ),
    "@anna 's not-so-good ( #tag ) at http://x.org/b . Don 't : 9:15 !"
      .split(" "),
  );
  assertEquals(wordsOf("it's a-b.", "it ' s , ."), "it ' s a - b .".split(" "));
  // Long runs take no time.
  assertEquals(wordsOf("-".repeat(50_000), "-a b-c d-").length, 1);
});

Deno.test("tagClasses() writes BILOU as BIOES, but leaves plain tags of such names", async () => {
  const texts = read(await rowsOf("a.conll", "a B-x\nb L-x\nc U-x\n"));
  const scheme = schemeOf(texts.map(({ tags }) => tags!));
  const [checked] = checkTags(texts, scheme);
  const classes = tagClasses([checked!], scheme);
  assertEquals(classes, ["O", "B-x", "I-x", "E-x", "S-x"]);
  const row = { place: "a.conll:1", values: [checked!.text, checked] };
  const { words } = tagColumn.of(classes).read(row);
  assertEquals(words!.map(([, , label]) => label), [1, 3, 4]);
  const own = ["O", "B-x", "I-x", "L-x", "U-x"];
  assertEquals(tagColumn.of(own).read(row).words, words);
  assertEquals(tagColumn.of(own).describe([1, 3, 4]).slice(-5), '"x" 2');
  const plain = read(await rowsOf("a.conll", "a L-x\nb PER\n"));
  assertEquals(checkTags(plain, "plain")[0]!.tags, ["L-x", "PER"]);
});

Deno.test("mixedTags() names a tag that makes all tags of BIO plain", async () => {
  const found = async (content: string) =>
    mixedTags(read(await rowsOf("a.conll", content)));
  assertEquals(await found("a B-x\nb I-x\nc O\nd 0\n"), [
    '"B-x" (a.conll:1) is as in BIO, but "0" (a.conll:4) is not, so all tags are taken as plain, B- and I- as part of a type: if it is a typing error, correct it',
  ]);
  assertEquals(await found("a NOUN\nb O\n"), []);
});
