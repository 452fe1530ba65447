import { assertEquals } from "@std/assert";
import { repeatedRows } from "../../lib/data/faults.ts";

Deno.test("repeatedRows() names rows in the order of the file", () => {
  const rows = ["x", "u", "u", "x"].map((text, i) => (
    { place: `a:${i + 1}`, values: [text, "y"] }
  ));
  assertEquals(repeatedRows(rows), [
    "2 of 4 rows that repeat an earlier one and count again (a:3, 4): remove them, or leave them out by -S repeated=drop",
  ]);
});

Deno.test("repeatedRows() tells apart the lists of labels of a text", () => {
  const rows = [["joy"], ["joy", "fear"], ["joy"]].map((labels, i) => (
    { place: `a:${i + 1}`, values: ["x", labels] }
  ));
  assertEquals(repeatedRows(rows).length, 1);
  assertEquals(repeatedRows(rows.slice(0, 2)), []);
});
