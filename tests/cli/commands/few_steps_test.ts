import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { callHere, outWithCode } from "../project.ts";

const out = ["--out", await outWithCode()];

/** A table of some rows with two labels, the last of which has a line break. */
async function writeTable(path: string, rows: number) {
  const lines = Array.from(
    { length: rows },
    (_, i) => `text ${i},${i % 2 === 0 ? "good" : "bad"}`,
  );
  lines[rows - 1] = `"text\nof two lines",good`;
  await Deno.writeTextFile(path, ["text,label", ...lines, ""].join("\n"));
}

function call(command: string, path: string, ...settings: string[]) {
  const all = [
    `train=${path}`,
    "text=text",
    "model=./fixtures/tiny-roberta",
    ...settings,
  ];
  const words = all.flatMap((it) => ["-S", it]);
  return callHere(command, "own-data", ...words, ...out);
}

const planOf = (path: string, ...settings: string[]) =>
  call("plan", path, ...settings);

Deno.test("plan says before anything runs that a training has few steps, with the command that gives it more", () =>
  withFolder(async (folder) => {
    const path = join(folder, "few.csv");
    await writeTable(path, 80);
    const { code, stderr } = await planOf(path);
    assertEquals(code, 0, stderr);
    // 72 rows are 3 batches of 32.
    assertEquals(stderr.split("\n"), [
      "train-dylora@seed=0 takes about 30 steps: 10 epochs of 72 rows in batches of 32. With so few it may learn little; 100 epochs make about 300.",
      `  run: deno task plan own-data -S ${
        shellWord(`train=${path}`)
      } -S text=text -S model=./fixtures/tiny-roberta -S training.epochs=100 --out ${
        shellWord(out[1]!)
      }`,
      "",
    ]);
    const mended = await planOf(path, "training.epochs=100");
    assertEquals([mended.code, mended.stderr], [0, ""]);
  }));

Deno.test("pipeline says that a training has few steps before the first stage runs", () =>
  withFolder(async (folder) => {
    const path = join(folder, "few.csv");
    await writeTable(path, 80);
    // Ends the run before a stage has started.
    const none = "model=./fixtures/none";
    const { code, stdout, stderr } = await call("pipeline", path, none);
    assertEquals(code, 1);
    assertStringIncludes(stdout + stderr, "takes about 30 steps");
    assertStringIncludes(stdout + stderr, "run: deno task pipeline own-data ");
  }));

Deno.test("plan names trainings with as few steps together, and counts the rows of a file for validation", () =>
  withFolder(async (folder) => {
    const path = join(folder, "few.csv");
    await writeTable(path, 64);
    const { stderr } = await planOf(
      path,
      `validation=${path}`,
      "loraRanks=[1,2]",
      "training.batchSize=16",
    );
    assertStringIncludes(
      stderr,
      "train-dylora@seed=0 (as 2 other trainings) takes about 40 steps: 10 epochs of 64 rows in batches of 16.",
    );
  }));

Deno.test("plan does not warn of few steps where there are many, nor of a file that is invalid, for which it has an error", () =>
  withFolder(async (folder) => {
    const path = join(folder, "many.csv");
    await writeTable(path, 1100);
    assertEquals((await planOf(path)).stderr, "");
    await Deno.writeTextFile(path, 'text,label\n"a,good\n');
    const { stderr } = await planOf(path);
    assertEquals(/few/.test(stderr), false, stderr);
  }));
