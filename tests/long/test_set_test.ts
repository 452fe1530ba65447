import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { Report } from "../../lib/report/report.ts";
import { callHere, outWithCode } from "../cli/project.ts";

const own = await outWithCode();

/**
 * A pipeline on the user's data with settings for a tiny model, and a test set
 * for it.
 */
interface Case {
  readonly pipeline: string;
  /** Options without the test set. */
  readonly options: readonly string[];
  readonly test: string;
  /** The stages that the test set adds. */
  readonly added: readonly string[];
}

const QUICK = ["rank=4", "maxLength=32", "training.epochs=2"];

const CASES: readonly Case[] = [
  {
    pipeline: "own-data",
    options: [
      "train=./fixtures/tiny-glue/SST-2/train.tsv",
      "model=./fixtures/tiny-roberta",
      "training.learningRate=5e-3",
      ...QUICK,
    ].flatMap((it) => ["-S", it]),
    test: "./fixtures/tiny-glue/SST-2/dev.tsv",
    added: ["test-data", "tokenize-test", "evaluate-test", "report-test"],
  },
  {
    pipeline: "own-data",
    options: [
      "train=./fixtures/tiny-entities/train.conll",
      "model=./fixtures/tiny-bert",
      "training.learningRate=1e-2",
      "name=words",
      ...QUICK,
    ].flatMap((it) => ["-S", it]).concat("--profile", "tokens"),
    test: "./fixtures/tiny-entities/validation.conll",
    added: ["test-data", "tokenize-test", "evaluate-test", "report-test"],
  },
  {
    pipeline: "e2e",
    options: ["--profile", "smoke", "-S", "training.epochs=1"],
    test: "./fixtures/tiny-e2e/validation.csv",
    added: [
      "test-data",
      "tokenize-test",
      "evaluate-test",
      "write-test",
      "report-test",
      "report-test-texts",
    ],
  },
];

for (const { pipeline, options, test, added } of CASES) {
  Deno.test(`pipeline ${pipeline} ${options[1]} scores a test set that is named later at the recommended rank, and trains nothing`, async () => {
    const all = [...options, "--out", own, "--name", "a"];
    const call = async (...more: string[]) => {
      const called = await callHere("pipeline", pipeline, ...all, ...more);
      assertEquals(called.code, 0, called.stdout + called.stderr);
      return called;
    };
    await call();
    const later = await call("-S", `test=${test}`, "--json");
    const events = later.json();
    const started = events.filter(({ type }) => type === "started")
      .map(({ stage }: { stage: string }) => stage.replace(/@.*/, ""));
    assertEquals(started.toSorted(), added.toSorted());
    const reportOf = (stage: string): Report =>
      JSON.parse(
        Deno.readTextFileSync(
          join(own, `${pipeline}@a`, stage, "report.json"),
        ),
      );
    const [chosen] = reportOf("report").comparisons;
    const { rank } = chosen!.verdict!.recommended;
    for (const stage of added.filter((it) => it.startsWith("report"))) {
      const [comparison, ...others] = reportOf(stage).comparisons;
      assertEquals([comparison!.split, others.length], ["test", 0]);
      const ranks = comparison!.methods.flatMap(({ ranks }) => ranks);
      assertEquals(ranks.map((it) => it.rank), [rank]);
    }
    const { stdout } = await call("-S", `test=${test}`);
    assertMatch(stdout, /^Nothing to do: /m);
    assertMatch(
      stdout,
      new RegExp(`^  Also, \\S+, test: (At rank ${rank}, |.*test set)`, "m"),
    );
  });
}
