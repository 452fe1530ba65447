import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import type { Training } from "../../lib/artifacts/training.ts";
import type { Comparison, MethodSummary } from "../../lib/report/report.ts";
import { NoRecommendationError } from "../../lib/stages/recommended_rank.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import merge from "../../tasks/merge.ts";
import {
  REFERENCE_LORA,
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTraining,
} from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { TrainedStages } from "../tasks/trained_stages.ts";

const TRAINING: Training = { ...REFERENCE_TRAINING, task: "mrpc" };
const LORA: Training = { ...REFERENCE_LORA, task: "mrpc" };

Deno.test("recommendedRank() gives the rank that a report recommends for the adapter", () =>
  withReport(async ({ take, write, comparison, dylora, at }) => {
    const { rank } = dylora.recommendation!;
    assertNotEquals(rank, 3);
    assertEquals(await take(), rank);

    // As MNLI's two sets may recommend.
    write(
      ...[
        ["validation_matched", 2] as const,
        [
          "validation_mismatched",
          3,
        ] as const,
      ].map(([split, rank]) => ({
        ...comparison,
        split,
        methods: [at(rank)],
      })),
    );
    await assertRejects(
      take,
      Error,
      'several ranks for dylora on "mrpc" at the last epoch (2 on validation_matched, 3 on validation_mismatched); select one by "split"',
    );
    assertEquals(await take({ split: "validation_mismatched" }), 3);
    await assertRejects(
      () => take({ split: "test" }),
      Error,
      'The report recommends no rank for dylora on "mrpc", split "test", at the last epoch; give "rank" as a number',
    );

    write({ ...comparison, methods: [{ ...at(2), method: "lora" }] });
    await assertRejects(
      () => take({}, LORA),
      Error,
      "The report recommends rank 2 of lora, which the adapter of rank 4 does not serve",
    );
  }));

Deno.test("recommendedRank() uses the recommendation for the adapter's own variant only", () =>
  withReport(async ({ take, write, comparison, at }) => {
    write({
      ...comparison,
      methods: [at(2, { mode: "all" }), at(3, { mode: "frozen" })],
    });
    const { method } = referenceTraining({ mode: "frozen" });
    const frozen: Training = { ...TRAINING, method };
    assertEquals(await take(), 2);
    assertEquals(await take({}, frozen), 3);
    write({ ...comparison, methods: [at(3, { mode: "frozen" })] });
    assertIsError(
      await assertRejects(take),
      Error,
      /rank for dylora with mode=frozen, but the adapter was trained with mode=all: connect an adapter with mode=frozen, or give "rank"/,
    );
  }));

Deno.test("recommendedRank() compares the settings of a variant that training.json records", () =>
  withReport(async ({ take, write, comparison, at }) => {
    const variants: [Record<string, string | number>, string | undefined][] = [
      [{ sampler: "geometric p 0.15", scope: "model" }, undefined],
      [{ sampler: "uniform", scope: "model" }, "sampler=uniform"],
      [{ scope: "example" }, "scope=example"],
      [{ precision: "bf16" }, "precision=bf16"],
      [{ learningRate: 0.01 }, undefined],
      [{ learningRate: 0.02 }, "learningRate=0.02"],
      [{ scaling: "rank" }, undefined],
      [{ scaling: "maximum" }, "scaling=maximum"],
      [{ sortAt: 0.6 }, "sortAt=0.6"],
      [{ targetModules: "query value" }, undefined],
      [{ rank: 8 }, "rank=8"],
      // Of the evaluation, or of other schedules.
      [{ evaluatedIn: "bf16" }, undefined],
      [{ objective: "losses" }, undefined],
    ];
    for (const [variant, contradiction] of variants) {
      write({ ...comparison, methods: [at(3, variant)] });
      if (contradiction === undefined) {
        assertEquals(await take(), 3);
      } else {
        assertIsError(
          await assertRejects(take),
          Error,
          new RegExp(`rank for dylora with ${contradiction}, but the adapter`),
        );
      }
    }
    write({
      ...comparison,
      methods: [{ ...at(4, { mode: "all" }), method: "lora" }],
    });
    assertEquals(await take({}, LORA), 4);
  }));

Deno.test("recommendedRank() names the epoch that a report lacks and the one that it has", () =>
  withReport(async ({ take, write, comparison }) => {
    write({ ...comparison, epoch: "best" });
    assertIsError(
      await assertRejects(take),
      NoRecommendationError,
      /^The report has scores of "mrpc" only at the best epoch, but the adapter is used at the last epoch: evaluate that epoch too, use "epoch: best", or give "rank" as a number$/,
    );
    write({ ...comparison, task: "rte" });
    assertIsError(
      await assertRejects(take),
      NoRecommendationError,
      /^The report recommends no rank for dylora on "mrpc" at the last epoch; give "rank" as a number$/,
    );
  }));

Deno.test("export-adapter says that the report behind its rank found nothing learnt", () =>
  withReport(async ({ write, comparison, export: run }) => {
    const verdict = comparison.verdict!;
    write({ ...comparison, verdict: { ...verdict, kind: "recommended" } });
    assertEquals((await run()).log.length, 1);
    write({
      ...comparison,
      verdict: {
        ...verdict,
        kind: "nothing-learnt",
        headline: "Nothing was learnt.",
      },
    });
    const { log } = await run();
    assertMatch(
      log[0]!,
      /^The report says: "Nothing was learnt\." Rank \d is used all the same$/,
    );
  }));

Deno.test("classify says why it takes the adapter's own rank where the report recommends none", () =>
  withEngineStages(async ({ folder, given, attempt }) => {
    const stages = new TrainedStages(folder);
    await stages.train("lora", [4], 0);
    const { folder: report } = await stages.report();
    const adapter = await referenceAdapter(folder, TRAINING);
    const texts = [{ text: "the film is good ." }];
    assertEquals(
      await attempt("classify", { texts }, { ...given, adapter, report }),
      {
        code: 0,
        text:
          'The report recommends no rank for dylora on "mrpc" at the last epoch; give "rank" as a number. Rank 4, the adapter\'s own, is used',
      },
    );
  }));

Deno.test("export-adapter and merge reject a split without rank: recommended", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, TRAINING);
    const model = join(import.meta.dirname!, "../../fixtures/tiny-roberta");
    const given = { split: "validation" };
    for (
      const run of [
        () => runTask(exportAdapter, folder, given, { adapter }),
        () => runTask(merge, folder, given, { adapter, model }),
      ]
    ) {
      assertIsError(
        await assertRejects(run),
        Error,
        /"split" requires "rank: recommended"/,
      );
    }
  }));

/**
 * A report on DyLoRA and LoRA, which can be rewritten, and an export that goes
 * by it.
 */
interface Reported {
  readonly comparison: Comparison;
  readonly dylora: MethodSummary;
  /** DyLoRA as a variant with a recommended rank. */
  at(rank: number, variant?: MethodSummary["variant"]): MethodSummary;
  write(...comparisons: Comparison[]): void;
  /** Exports an adapter. */
  export(
    params?: Readonly<Record<string, unknown>>,
    training?: Training,
  ): ReturnType<typeof runTask>;
  /** The rank at which an adapter is exported. */
  take(
    params?: Readonly<Record<string, unknown>>,
    training?: Training,
  ): Promise<number>;
}

function withReport(
  body: (reported: Reported) => Promise<void>,
): Promise<void> {
  return withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const seed of [0, 1]) {
      await stages.train("dylora", [1, 2, 4], seed);
      await stages.train("lora", [4], seed);
    }
    const [comparison] = (await stages.report()).json.comparisons;
    const dylora = comparison!.methods.find(({ method }) =>
      method === "dylora"
    )!;
    const report = await Deno.makeTempDir({ dir: folder });
    const write = (...comparisons: Comparison[]) =>
      Deno.writeTextFileSync(
        join(report, "report.json"),
        JSON.stringify({ comparisons, averages: [] }),
      );
    write(comparison!);
    const run: Reported["export"] = async (
      params = {},
      training = TRAINING,
    ) => {
      const adapter = await referenceAdapter(folder, training);
      return runTask(exportAdapter, folder, {
        rank: "recommended",
        ...params,
      }, { adapter, report });
    };
    await body({
      comparison: comparison!,
      dylora,
      at: (rank, variant = {}) => ({
        ...dylora,
        variant,
        recommendation: { ...dylora.recommendation!, rank },
      }),
      write,
      export: run,
      async take(...given) {
        const { output } = await run(...given);
        const config = join(output, "adapter_config.json");
        return JSON.parse(await Deno.readTextFile(config)).r;
      },
    });
  });
}
