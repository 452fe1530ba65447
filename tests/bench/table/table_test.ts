import { assertEquals, assertThrows } from "@std/assert";
import {
  documents,
  type Measured,
  stepTable,
  withRows,
  withTable,
} from "./bench.ts";

const row: Measured = {
  machine: "A",
  commit: "80af41c",
  work: "minilm 32x64",
  precision: "f32",
  ours: 0.22,
  peer: 0.689,
  ratio: 0.22 / 0.689,
};

Deno.test("lib/engine/MEASUREMENTS.md has the table of the rows that are kept", () => {
  const { is, made } = documents();
  assertEquals(is, made);
});

Deno.test("withRows() replaces the row of the same machine, work and precision", () => {
  const newer = { ...row, commit: "bd87e795", ratio: 0.3 };
  const other = { ...row, precision: "bf16" as const };
  assertEquals(withRows([row, other], [newer]), [newer, other]);
});

Deno.test("stepTable() has a line for each work and a column for each machine", () => {
  const memory = {
    ...row,
    machine: "B",
    work: "minilm 32x64, peak memory",
    ours: 1024 * 2 ** 20,
    peer: 2048 * 2 ** 20,
    ratio: 0.5,
  };
  const { ours: _, peer: __, ...ratio } = { ...row, machine: "B", ratio: 0.53 };
  assertEquals(
    stepTable([memory, ratio, row]),
    `\
| work                      | precision | A                  | B                   |
| ------------------------- | --------- | ------------------ | ------------------- |
| minilm 32x64              | f32       | 0.32 (0.22, 0.689) | 0.53                |
| minilm 32x64, peak memory | f32       |                    | 0.50 (1,024, 2,048) |`,
  );
});

Deno.test("withTable() refuses a document without the mark", () => {
  assertThrows(() => withTable("# Measurements\n", "| a |"), Error, "No table");
});
