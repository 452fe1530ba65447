import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Report } from "../../lib/report/report.ts";
import { type Called, callMainWith } from "../cli/project.ts";
import { ServedPage } from "../cli/pages/served_page.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";

/**
 * The walk of a new user through own data, in this order; each step uses what
 * the ones before have made.
 */

const PYTHON = Deno.env.get("PEFT_PYTHON");
const MODEL = fileURLToPath(
  new URL("../../fixtures/tiny-roberta", import.meta.url),
);

/**
 * Questions and answers of three classes, as a spreadsheet in Europe writes
 * them, and of a score.
 */
function tables(folder: string): { classes: string; scores: string } {
  const answers = [
    ["no", "the film is dull .", "-1,5"],
    ["maybe", "the film is not bad .", "0,25"],
    ["yes", "the film is great fun !", "2,0"],
  ] as const;
  const rows = Array.from({ length: 240 }, (_, i) => {
    const [label, answer, score] = answers[i % 3]!;
    const question = `is scene ${i} of "the film" good ?`.replaceAll('"', '""');
    return { label, answer, score, question: `"${question}"`, id: i };
  });
  const classes = join(folder, "my answers.csv");
  Deno.writeTextFileSync(
    classes,
    [
      "id;question;answer;label",
      ...rows.map((it) => [it.id, it.question, it.answer, it.label].join(";")),
    ].join("\r\n"),
  );
  const scores = join(folder, "scores.csv");
  Deno.writeTextFileSync(
    scores,
    [
      "answer;score",
      ...rows.map(({ answer, score }, i) =>
        `${answer.replace("film", `film ${i}`)};${score}`
      ),
    ].join("\n"),
  );
  return { classes, scores };
}

/**
 * A file with a class written in three ways, a repeated row, two labels for a
 * text, and texts that are empty or long.
 */
function messyTable(folder: string): string {
  const file = join(folder, "messy.jsonl");
  const rows = [
    ...Array.from(
      { length: 60 },
      (_, i) =>
        i % 2
          ? { said: `scene ${i} is great fun`, mood: "pos" }
          : { said: `scene ${i} is dull`, mood: "neg" },
    ),
    { said: "what a film", mood: "Pos" },
    { said: "quite a film", mood: "pos " },
    { said: "scene 1 is great fun", mood: "pos" },
    { said: "scene 3 is great fun", mood: "neg" },
    { said: " ", mood: "neg" },
    { said: "long ".repeat(90), mood: "pos" },
  ];
  Deno.writeTextFileSync(
    file,
    rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
  );
  return file;
}

Deno.test("a new user comes from own data to predictions, as the documents and the commands that are printed say", async (t) => {
  const folder = Deno.makeTempDirSync({ prefix: "walk-" });
  const out = join(folder, "out");
  const env = { NO_COLOR: "1" };
  const call = async (code: number, ...args: string[]): Promise<Called> => {
    const called = await callMainWith({ env }, ...args);
    const printed = `${called.stdout}\n${called.stderr}`;
    assertEquals(called.code, code, `${args.join(" ")}\n${printed}`);
    return called;
  };
  const reportOf = (pipeline: string): Report =>
    JSON.parse(
      Deno.readTextFileSync(join(out, pipeline, "report/report.json")),
    );
  try {
    const { classes, scores } = tables(folder);
    const file = join(folder, "mine.yaml");
    const run = [
      ...[file, "--out", out, "-S", `model=${MODEL}`],
      ...["-S", "maxLength=32", "-S", "training.epochs=10", "-S", "rank=2"],
      // The tiny model learns at a high rate only.
      ...["-S", "training.learningRate=1e-2", "-S", "training.batchSize=16"],
    ];
    /** The lines that the run ends with, by their first word. */
    const answer = new Map<string, string>();

    await t.step("init finds the columns, and plan a wrong one", async () => {
      const pair = ["--text", "question", "--pair", "answer"];
      await call(0, "init", classes, ...pair, "--to", file);
      const planned = await call(0, "plan", ...run);
      assertMatch(planned.stdout, /^run +data /m);
      const wrong = await call(1, "plan", ...run, "-S", "pair=reply");
      assertMatch(wrong.stderr, /no column "reply".*-S pair=/);
    });

    await t.step("a run trains, reports and exports", async () => {
      const { lines } = await call(0, "pipeline", ...run);
      const last = lines.slice(-20);
      for (const line of last) {
        const [, word, rest] =
          /^(adapter|predict|try|report) +(.*)$/.exec(line) ?? [];
        if (word !== undefined) answer.set(word, rest!);
      }
      assertEquals([...answer.keys()], ["adapter", "predict", "try", "report"]);
      const code = last.slice(
        last.findIndex((it) => it.startsWith("python ")),
        last.findIndex((it) => it.startsWith("report ")),
      );
      answer.set("python", code.map((it) => it.slice(9)).join("\n"));
      const again = await call(0, "pipeline", ...run);
      assertMatch(again.stdout, /^Nothing to do: 9 stages unchanged/m);
    });

    await t.step("the report says what is wrong, with the texts", () => {
      const [comparison] = reportOf("mine").comparisons;
      const { mistakes, examples, verdict } = comparison!;
      assertMatch(
        verdict!.headline,
        /^Use rank \d of LoRA by SVD(, a head per rank)?: \d+ of \d+ held-out rows are right/,
      );
      assertEquals(mistakes.classes!.map(({ name }) => name), [
        "maybe",
        "no",
        "yes",
      ]);
      const counted = mistakes.classes!.flatMap((it) => it.predicted);
      assertEquals(counted.reduce((a, b) => a + b, 0), examples);
      for (const { text, pair } of mistakes.worst) {
        assertMatch(text!, /^is scene \d+ of "the film" good \?$/);
        assertMatch(pair!, /^the film is /);
      }
    });

    await t.step({
      name: "its page works in narrow and wide windows, without a network",
      ignore: chromiumMissing() !== undefined,
      async fn() {
        const url = pathToFileURL(answer.get("report")!).href;
        await using browser = await Browser.start();
        for (const width of [400, 1280]) {
          await browser.open(url, { width });
          await browser.until("document.documentElement.dataset.ready === ''");
          await browser.until(
            `document.documentElement.scrollWidth <= ${width}`,
          );
          // Folded on a phone.
          await browser.evaluate(
            "for (const it of document.querySelectorAll('details')) it.open = true",
          );
          const text = await browser.evaluate<string>(
            "document.querySelector('main').innerText",
          );
          assertMatch(text, /Mistakes of LoRA by SVD.*Precision.*as maybe/s);
        }
        assertEquals(new Set(browser.requests), new Set([url]));
        assertEquals(browser.errors, []);
      },
    });

    /**
     * What a tail of Python prints of the logits of texts, computed by PEFT in
     * another folder.
     */
    const byPython = async (
      code: string,
      texts: readonly string[],
      tail: string,
    ): Promise<unknown> => {
      const { stdout, stderr } = await new Deno.Command(PYTHON!, {
        args: [
          "-c",
          `${code}
import json, torch
inputs = tokenizer(*json.loads(${
            JSON.stringify(JSON.stringify(texts))
          }), return_tensors="pt")
with torch.no_grad():
    logits = model.eval()(**inputs).logits[0]
${tail}`,
        ],
        cwd: Deno.makeTempDirSync({ dir: folder }),
      }).output();
      const decoder = new TextDecoder();
      const last = decoder.decode(stdout).trim().split("\n").at(-1)!;
      assert(last.startsWith("["), decoder.decode(stderr));
      return JSON.parse(last);
    };

    /** Predicted label of a question with its answer. */
    let predicted: { label: string; probability: number };
    const text = 'is scene 7 of "the film" good ?';

    await t.step(
      "the printed command predicts, and a table at once",
      async () => {
        const [, options] = /^deno task predict (.*) --pair/.exec(
          answer.get("predict")!,
        )!;
        const words = options!.split(" ");
        const one = await call(
          0,
          ...["predict", ...words, "--pair", "|", "--json"],
          `${text}|the film is dull .`,
        );
        const [{ label, probabilities }] = one.json();
        predicted = { label, probability: probabilities[label] };

        const written = join(folder, "predicted.csv");
        const named = ["--text", "question", "--pair", "answer"];
        await call(
          0,
          ...["predict", ...words, "--in", classes, "--out", written, ...named],
        );
        const [head, ...rows] = Deno.readTextFileSync(written).trim().split(
          "\n",
        );
        // As the file came in: with semicolons.
        assertEquals(
          head,
          "id;question;answer;label;predicted_label;probability",
        );
        assertEquals(rows.length, 240);
        assertMatch(
          rows[0]!,
          /^0;"is scene 0 of ""the film"" good \?";the film/,
        );
        const missing = await call(
          1,
          ...["predict", ...words, "--in", classes, "--out", written],
          ...["--text", "reply"],
        );
        assertMatch(missing.stderr, /no column "reply".*--text/);
      },
    );

    await t.step({
      name: "the printed command serves a page with the same probabilities",
      ignore: chromiumMissing() !== undefined,
      async fn() {
        const words = answer.get("try")!.split(" ").slice(2);
        await using page = await ServedPage.of(...words);
        await using browser = await Browser.start();
        await browser.open(page.url);
        const { verdict } = reportOf("mine").comparisons[0]!;
        const values = {
          ...{ text, pair: "the film is dull ." },
          rank: verdict!.recommended.rank - 1,
        };
        const percent = `${(100 * predicted.probability).toFixed(1)} %`;
        const shown = `${predicted.label}, ${percent} at rank ${
          verdict!.recommended.rank
        }, in `;
        await browser.until(
          `document.getElementById("status").textContent === "Enter a text"`,
        );
        assertEquals(
          await browser.evaluate(
            `document.getElementById("chosen").textContent`,
          ),
          `${verdict!.recommended.rank} (recommended)`,
        );
        await browser.evaluate(
          `for (const [id, value] of Object.entries(${
            JSON.stringify(values)
          })) {
            const box = document.getElementById(id);
            box.value = value;
            box.dispatchEvent(new Event("input"));
          }`,
        );
        await browser.until(
          `document.getElementById("status").textContent.startsWith(${
            JSON.stringify(shown)
          })`,
        );
        assertEquals(browser.errors, []);
      },
    });

    await t.step({
      name: "PEFT loads the adapter from another folder",
      ignore: PYTHON === undefined,
      async fn() {
        const found = await byPython(
          answer.get("python")!,
          [text, "the film is dull ."],
          `found = torch.softmax(logits, -1)
print(json.dumps([model.config.id2label[int(found.argmax())], float(found.max())]))`,
        );
        const [label, probability] = found as [string, number];
        assertEquals(label, predicted.label);
        assert(Math.abs(probability - predicted.probability) < 1e-4);
      },
    });

    await t.step("numbers are predicted as well", async () => {
      const settings = [
        ...[`train=${scores}`, "text=answer", "label=score", "name=scores"],
        ...["regression=true", "rank=2", "maxLength=32", `model=${MODEL}`],
        "training.epochs=1",
      ].flatMap((it) => ["-S", it]);
      const own = ["--out", out, ...settings];
      await call(0, "pipeline", "own-data", ...own);
      const [{ mistakes }] = reportOf("own-data").comparisons as [
        Report["comparisons"][number],
      ];
      assertEquals([mistakes.classes, mistakes.worst.length], [null, 10]);
      const to = join(folder, "scored.jsonl");
      await call(
        0,
        ...["predict", "own-data", "train-dylora", "--in", scores, "--to", to],
        ...["--rank", "2"],
        ...own,
      );
      const [line] = Deno.readTextFileSync(to).split("\n");
      const { answer, score, predicted_score: found } = JSON.parse(line!);
      assertEquals([answer, score], ["the film 0 is dull .", "-1,5"]);
      assertEquals(typeof found, "number");
      const peft = join(folder, "scores for PEFT");
      await call(
        0,
        ...["export", "own-data", "train-dylora", "--rank", "2", "--to", peft],
        ...own,
      );
      if (PYTHON === undefined) return;
      const card = Deno.readTextFileSync(join(peft, "README.md"));
      const [, code] = /```python\n([^]*?)```/.exec(card)!;
      const [theirs] = await byPython(
        code!.replaceAll('"FOLDER"', JSON.stringify(peft)),
        [answer],
        "print(json.dumps(logits.tolist()))",
      ) as [number];
      assert(Math.abs(theirs - found) < 1e-4, `${theirs}, ${found}`);
    });

    await t.step(
      "what is wrong with a messy file is said in init, in a remedy that can be pasted, under the verdict and in the report",
      async () => {
        const messy = messyTable(folder);
        const faults = [
          /the class "Pos" \(rows: 1, .*may be "pos" \(rows: 33\) with a typing error/,
          /texts with several labels: 1, first "scene 3 is great fun"/,
          /1 of 66 rows that repeat an earlier one/,
          /1 of 66 rows with an empty text/,
          /classes with fewer than 5 rows \(1\)/,
        ];
        const seen = await call(
          0,
          ...["init", messy, "--to", join(folder, "messy.yaml")],
        );
        for (const fault of faults) assertMatch(seen.stdout, fault);

        const own = [
          ...["--out", join(folder, "messy"), "-S", `train=${messy}`],
          ...["-S", `model=${MODEL}`, "-S", "rank=2", "-S", "maxLength=32"],
          ...["-S", "training.epochs=1", "-S", "label=mood"],
        ];
        const lacking = await call(1, "plan", "own-data", ...own);
        const [, mended] = /^ {2}run: deno task (.*)$/m.exec(lacking.stderr)!;
        await call(0, ...mended!.split(" "));
        const ran = await call(
          0,
          ...["pipeline", "own-data", ...own, "-S", "text=said"],
        );
        const answer = ran.stdout.slice(ran.stdout.lastIndexOf("own-data: "))
          .replaceAll(/\s+/g, " ");
        const said = JSON.parse(
          Deno.readTextFileSync(
            join(folder, "messy/own-data/report/report.json"),
          ),
        ) as Report;
        const truncated =
          /train: 1 of \d+ texts \(2 %\) are longer than 32 tokens/;
        for (const fault of [...faults, truncated]) {
          assertMatch(answer, new RegExp(`problem: [^:]*: .*${fault.source}`));
          assertMatch(said.faults!.join("\n"), fault);
        }
        // What reads results needs no settings again.
        const logged = await call(
          0,
          ...["logs", "own-data", "tokenize", "--out", join(folder, "messy")],
        );
        assertMatch(logged.stdout, /truncated to 32 tokens/);
      },
    );

    await t.step(
      "without a network, a run says what to do instead",
      async () => {
        const offline = await callMainWith(
          { env: { ...env, HF_ENDPOINT: "http://127.0.0.1:9" } },
          ...["pipeline", file, "model", "--out", out],
          ...["-S", "model=someone/some-model"],
        );
        assertEquals(offline.code, 1);
        const said = offline.stdout + offline.stderr;
        assertMatch(said, /127\.0\.0\.1:9/);
        assertMatch(said, /HF_ENDPOINT|-S model=/);
      },
    );

    await t.step({
      name: "on a full disk, a run names the disk and leaves nothing half done",
      // Only root can mount a small file system.
      ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
      async fn() {
        const disk = Deno.makeTempDirSync({ prefix: "walk-disk-" });
        const mount = (...args: string[]) =>
          new Deno.Command(args[0]!, { args: args.slice(1) }).outputSync();
        mount("mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk);
        try {
          const small = ["--out", join(disk, "out"), "-S", `model=${MODEL}`];
          const full = await callMainWith(
            { env },
            ...["pipeline", file, "model", ...small],
          );
          assertEquals(full.code, 1);
          assertMatch(full.stdout + full.stderr, /disk .*is full|no space/i);
        } finally {
          mount("umount", disk);
          Deno.removeSync(disk);
        }
      },
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
