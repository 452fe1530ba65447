import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { readEmbeddings } from "../../../lib/artifacts/embeddings.ts";
import { readTable } from "../../../lib/data/table.ts";
import { assertClose, fixture } from "../../engine/reference.ts";
import {
  type EngineStages,
  withEngineStages,
} from "../../tasks/engine_stages.ts";
import { randomAdapterFolder } from "../../tasks/random_adapter.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../../tasks/reference_adapter.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { copiedStages } from "../copied_stages.ts";
import { callHere, callMainWith } from "../project.ts";

const MODEL = fixture("tiny-bert");
const TEXTS = ["a film that stays", "it rained , and rained", "never dull"];
/** Sums may be in another order where other threads compute them. */
const TOLERANCE = 1e-6;
const QUERY = "it rained";
const NUMPY = Deno.env.get("PEFT_PYTHON");
const PYARROW = Deno.env.get("TRACK_PYTHON");

/** An adapter of embeddings with random values, in a folder. */
function embedder(folder: string): Promise<string> {
  return randomAdapterFolder(folder, MODEL, {
    problem: "retrieval",
    labels: null,
  });
}

/** The options that name an adapter and its model. */
function optionsOf(adapter: string): string[] {
  return ["--adapter", adapter, "--model", MODEL];
}

/**
 * The embeddings that the task gives of an adapter at a rank, a row for each
 * text.
 */
async function expectedAt(
  rank: number,
  { run }: EngineStages,
  adapter: string,
  texts: readonly string[],
): Promise<Float32Array[]> {
  const inputs = { adapter, model: MODEL };
  const output = await run("embed", { texts, rank, precision: "f32" }, inputs);
  const { values, width } = await readEmbeddings(output);
  return texts.map((_, i) => values.subarray(i * width, (i + 1) * width));
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) =>
    x.reduce((sum, it, i) => sum + it * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** What Python prints, which is JSON. */
async function python(program: string, code: string, file: string) {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: ["-c", `import json, sys\n${code}`, file],
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(success, true, text(stderr));
  return JSON.parse(text(stdout));
}

Deno.test("predict writes the embeddings of a table's texts, or of lines, as .npy and .parquet, at any rank", () =>
  withEngineStages(async (stages) => {
    const { folder } = stages;
    const adapter = await embedder(folder);
    const named = optionsOf(adapter);
    const path = (name: string) => join(folder, name);
    const lines = path("lines.md");
    Deno.writeTextFileSync(lines, `${TEXTS.join("\r\n")}\r\n`);
    const table = path("table.jsonl");
    const rows = TEXTS.map((line, id) => JSON.stringify({ id, line }));
    Deno.writeTextFileSync(table, rows.join("\n"));
    const expected = await expectedAt(2, stages, adapter, TEXTS);
    const width = expected[0]!.length;
    const all = expected.flatMap((row) => [...row]);
    const written = async (input: string, name: string, ...more: string[]) => {
      const to = path(name);
      const args = ["--rank", "2", "--in", input, "--to", to, ...more];
      const { code, stdout, stderr } = await callHere(
        "predict",
        ...named,
        ...args,
      );
      assertEquals(code, 0, stderr);
      assertMatch(
        stdout,
        RegExp(`^3 texts at rank 2: .*${name}, 3 x ${width}\n$`),
      );
      return to;
    };

    const npy = await written(lines, "new/lines.npy");
    const bytes = Deno.readFileSync(npy);
    const size = 4 * width * TEXTS.length;
    const start = bytes.length - size;
    assertEquals(start % 64, 0);
    const values = new Float32Array(bytes.slice(start).buffer);
    assertClose(values, all, TOLERANCE, ".npy");

    const parquet = await written(table, "t.parquet", "--text", "line");
    const read = await readTable(parquet, ["text", "embedding"]);
    assertEquals(read.map(({ values: [text] }) => text), TEXTS);
    const embeddings = read.map(({ values: [, it] }) => it as number[]);
    assertEquals(embeddings.map((it) => it.length), [width, width, width]);
    assertClose(embeddings.flat(), all, TOLERANCE, ".parquet");

    if (NUMPY !== undefined) {
      const code = `import numpy
values = numpy.load(sys.argv[1])
print(json.dumps([str(values.dtype), values.shape, values.tolist()]))`;
      assertEquals(await python(NUMPY, code, npy), [
        "float32",
        [3, width],
        TEXTS.map((_, i) => [...values.slice(i * width, (i + 1) * width)]),
      ]);
    }
    if (PYARROW !== undefined) {
      const code = `import pyarrow.parquet
table = pyarrow.parquet.read_table(sys.argv[1])
print(json.dumps([str(table.schema.field("embedding").type), table.to_pydict()]))`;
      assertEquals(await python(PYARROW, code, parquet), [
        "list<element: float not null>",
        { text: TEXTS, embedding: embeddings },
      ]);
    }
  }));

Deno.test("predict prints embeddings as JSON", () =>
  withEngineStages(async (stages) => {
    const { folder } = stages;
    const adapter = await embedder(folder);
    const named = optionsOf(adapter);
    const { code, stderr, json } = await callMainWith(
      { input: `${TEXTS.join("\n")}\n` },
      "predict",
      ...named,
      "--json",
    );
    assertEquals(code, 0, stderr);
    const expected = await expectedAt(4, stages, adapter, TEXTS);
    for (const [i, { embedding, ...line }] of json().entries()) {
      assertEquals(line, { type: "embedding", text: TEXTS[i], rank: 4 });
      assertClose(embedding, expected[i]!, TOLERANCE, TEXTS[i]!);
    }
    assertEquals(json().length, TEXTS.length);
  }));

Deno.test("predict --nearest ranks the lines of a file, or the texts of a table, by each query", () =>
  withEngineStages(async (stages) => {
    const { folder } = stages;
    const adapter = await embedder(folder);
    const named = optionsOf(adapter);
    const lines = join(folder, "lines.txt");
    Deno.writeTextFileSync(lines, `${TEXTS.join("\n\n")}\n`);
    const args = [...named, "--rank", "3", "--nearest"];
    const queries = [QUERY, TEXTS[2]!];
    const all = await expectedAt(3, stages, adapter, [...queries, ...TEXTS]);
    const rankingOf = (query: number) =>
      TEXTS.map((text, i) => ({
        text,
        line: 2 * i + 1,
        cosine: cosine(all[query]!, all[queries.length + i]!),
      })).sort((a, b) => b.cosine - a.cosine);
    const { code, stdout, stderr } = await callHere(
      "predict",
      ...args,
      lines,
      ...queries,
    );
    assertEquals(code, 0, stderr);
    const shown = queries.map((query, i) =>
      [
        `${query}\n`,
        ...rankingOf(i).map(({ text, line, cosine }) =>
          `  ${cosine.toFixed(4)}  lines.txt:${line}  ${text}\n`
        ),
      ].join("")
    );
    assertEquals(
      stdout,
      `${REFERENCE_TRAINING.task}, rank 3\n\n${shown.join("\n")}`,
    );

    const table = join(folder, "table.csv");
    const many = Array.from({ length: 12 }, (_, i) => `text ${i}`);
    Deno.writeTextFileSync(
      table,
      `id,text\n${
        [...TEXTS, ...many].map((text, i) => `${i},"${text}"\n`).join("")
      }`,
    );
    const found = await callHere("predict", ...args, table, QUERY, "--json");
    assertEquals(found.code, 0, found.stderr);
    const [{ query, nearest, rank }] = found.json();
    assertEquals([query, rank, nearest.length], [QUERY, 3, 10]);
    const cosines: number[] = nearest.map((it: { cosine: number }) =>
      it.cosine
    );
    assertEquals(cosines, cosines.toSorted((a, b) => b - a));
    const [first] = nearest;
    const best = Number(/^table\.csv:(\d+)$/.exec(first.place)![1]);
    assertEquals([...TEXTS, ...many][best - 2], first.text);
    const rows = await expectedAt(3, stages, adapter, [QUERY, first.text]);
    assertAlmostEquals(first.cosine, cosine(rows[0]!, rows[1]!), 1e-5);
  }));

Deno.test("predict finds the nearest texts in the column of answers of the training, at the rank of the stage", async () => {
  await withFolder(async (folder) => {
    const data = await Deno.makeTempDir({ dir: folder });
    const info = {
      task: "own",
      problem: "retrieval",
      labels: null,
      metrics: ["accuracy@1"],
      columns: ["question", "answer"],
    };
    Deno.writeTextFileSync(join(data, "dataset.json"), JSON.stringify(info));
    using project = await copiedStages({
      model: MODEL,
      dataset: data,
      train: await embedder(folder),
    });
    const ran = await project.call("pipeline");
    assertEquals(ran.code, 0, ran.stderr);
    assertMatch(
      ran.stdout,
      /^predict {2}deno task predict .+ train .*--nearest FILE "your query"$/m,
    );
    const table = project.path("faq.tsv");
    Deno.writeTextFileSync(
      table,
      `question\tanswer\n${TEXTS.map((it) => `what ?\t${it}\n`).join("")}`,
    );
    const { code, stdout, stderr } = await project.call(
      "predict",
      "train",
      "--nearest",
      table,
      TEXTS[1]!,
    );
    assertEquals(code, 0, stderr);
    assertMatch(
      stdout,
      /\n {2}1\.0000 {2}faq\.tsv:3 {2}it rained , and rained\n/,
    );
  });
});

Deno.test("predict refuses what embeddings cannot be made of, or do not have, before anything runs", () =>
  withFolder(async (folder) => {
    const adapter = await embedder(folder);
    const named = optionsOf(adapter);
    const file = (name: string, text: string) => {
      const path = join(folder, name);
      Deno.writeTextFileSync(path, text);
      return path;
    };
    const lines = file("lines.txt", "one\n\nthree\n");
    const table = file("table.csv", "text,n\none,1\n ,2\n");
    const empty = file("empty.txt", "\n \n");
    const npy = join(folder, "out.npy");
    const classes = await referenceAdapter(folder, REFERENCE_TRAINING);
    const classifier = ["--adapter", classes, "--model", MODEL];
    const cases: [string[], number, RegExp][] = [
      [
        [...named, "a text"],
        2,
        /^The adapter gives embeddings: find the nearest .* --nearest FILE, write .* --to FILE\.npy or FILE\.parquet, or print them by --json$/m,
      ],
      [
        [...named, "--in", lines, "--to", join(folder, "out.csv")],
        2,
        /^".*out\.csv" cannot have embeddings: its name must end in \.npy or \.parquet$/m,
      ],
      [
        [...named, "--in", lines, "--to", npy],
        1,
        /^.*\/lines\.txt:2: A text is empty: write one, or remove the row$/m,
      ],
      [
        [...named, "--in", table, "--to", npy],
        1,
        /^.*\/table\.csv:3: A text is empty: write one, or remove the row$/m,
      ],
      [
        [...named, "--nearest", table, "--text", "line", "a"],
        1,
        /no column "line".*: name the column of the texts by --text$/m,
      ],
      [[...named, "--nearest", empty, "a"], 2, /empty\.txt" has no texts: /],
      [
        [...named, "--nearest", lines, "--in", lines, "--to", npy],
        2,
        /^Option "--nearest" does not go with "--in": give the queries/m,
      ],
      [
        [...named, "--to", npy, "a"],
        2,
        /^Option "--to" requires "--in", the file to read$/m,
      ],
      [
        [...named, "--pair", "|", "a|b", "--json"],
        2,
        /^Option "--pair" does not apply to adapters of embeddings$/m,
      ],
      [
        [...named, "--beams", "2", "a", "--json"],
        2,
        /^Option "--beams" does not apply to adapters of embeddings$/m,
      ],
      [
        [...classifier, "--nearest", lines, "a"],
        2,
        /^Option "--nearest" applies to adapters of embeddings, not to this one$/m,
      ],
    ];
    for (const [args, expected, message] of cases) {
      const { code, stderr } = await callHere("predict", ...args);
      assertMatch(stderr, message);
      assertEquals(code, expected, `${args}: ${stderr}`);
    }
    assertEquals(
      [...Deno.readDirSync(folder)].some(({ name }) => name === "out.npy"),
      false,
    );
    const rank = await callHere(
      "predict",
      ...named,
      "--rank",
      "5",
      "a",
      "--json",
    );
    assertEquals(rank.code, 1);
    assertMatch(rank.stderr, /rank 5/i);
  }));
