import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { runSandboxed } from "./run_sandboxed.ts";
import type { Comparison } from "../../lib/report/report.ts";
import { digestOf, writeJsonFile } from "../../lib/artifacts/json_file.ts";
import { readScores } from "../../lib/artifacts/scores.ts";
import { EXAMPLES, LOSSES, TrainedStages } from "./trained_stages.ts";
import { withFolder } from "./run_task.ts";

Deno.test("report compares scores and sums the measured times of both sweeps", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const seed of [0, 1]) {
      await stages.train("dylora", [1, 2, 4], seed, {
        training: 40 + 2 * seed,
        evaluation: 6,
        step: 0.25,
      });
      for (const rank of [1, 4]) {
        await stages.train("lora", [rank], seed, {
          training: 40 + rank + seed,
          evaluation: 2,
          step: 0.2,
        });
      }
    }
    const { json } = await stages.report();
    const [comparison] = json.comparisons;
    const [dylora, lora] = comparison!.methods;

    assertEquals(dylora!.ranks.map(({ rank }) => rank), [1, 2, 4]);
    assertEquals(lora!.ranks.map(({ rank }) => rank), [1, 4]);
    const { values, mean, deviation } = dylora!.ranks[1]!.metrics
      .accuracy!;
    const [a, b] = [0, 1].map((seed) => stages.accuracy("dylora", 2, seed));
    assertEquals(values, [a!, b!]);
    assertEquals(mean, (a! + b!) / 2);
    // Of two values: their distance divided by the square root of two.
    assert(Math.abs(deviation! - Math.abs(a! - b!) / Math.SQRT2) < 1e-12);
    for (const { metrics, interval } of dylora!.ranks) {
      const [low, high] = interval!;
      assert(low <= metrics.accuracy!.mean! && high >= metrics.accuracy!.mean!);
    }
    // Two of three examples are of the more frequent class.
    assertEquals(comparison!.majority, { accuracy: 2 / 3, f1: 0.8 });

    assertEquals(dylora!.cost, {
      ranks: [1, 2, 4],
      trainings: 1,
      stepSeconds: 0.25,
      steps: 100,
      examples: 3200,
      trainingSeconds: 41,
      selectionSeconds: 0,
      reductionSeconds: 0,
      evaluationSeconds: 6,
      sweepSeconds: 47,
      machines: [],
      trainingFlops: 1e12,
      selectionFlops: 0,
      reductionFlops: 0,
      evaluationFlops: 3e9,
      sweepFlops: 1.003e12,
    });
    assertEquals(lora!.cost, {
      ranks: [1, 4],
      trainings: 2,
      stepSeconds: 0.2,
      steps: 200,
      examples: 6400,
      trainingSeconds: 41.5 + 44.5,
      selectionSeconds: 0,
      reductionSeconds: 0,
      evaluationSeconds: 4,
      sweepSeconds: 90,
      machines: [],
      trainingFlops: 2e12,
      selectionFlops: 0,
      reductionFlops: 0,
      evaluationFlops: 2e9,
      sweepFlops: 2.002e12,
    });
    const [contrast] = comparison!.contrasts;
    assertEquals(contrast!.speedUp, {
      ranks: [1, 4],
      training: 86 / 41,
      sweep: 90 / 47,
      examples: 2,
      trainingFlops: 2,
      sweepFlops: 2.002 / 1.003,
    });
    assertEquals(contrast!.ranks.map(({ rank }) => rank), [1, 4]);
    assert(contrast!.areas !== null);

    const { split, epoch, examples } = comparison!;
    assertEquals([split, epoch, examples], [
      "validation",
      "last",
      EXAMPLES,
    ]);
    assertEquals(dylora!.ranks.map(({ seeds }) => seeds), [
      [0, 1],
      [0, 1],
      [0, 1],
    ]);
    assertEquals(dylora!.settings, {
      epochs: [2],
      batchSize: [32],
      learningRate: [1e-3],
      alpha: [16],
      scale: ["alpha / b"],
      draws: ["uniformly for each step"],
      precision: ["f32"],
      engine: ["tensorflow"],
    });
    assertEquals(dylora!.startedFrom, []);
    assertEquals(dylora!.selectedOn, []);
    assertEquals(lora!.settings!.scale, []);
    assertEquals(lora!.settings!.draws, []);
    assertEquals(dylora!.evaluatedIn, ["bf16"]);
  });
});

Deno.test("report counts only the baseline's ranks within the candidate's range for a speed-up, and compares areas over the ranks of both", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2, 4], 0, { training: 40 });
    for (const rank of [1, 4, 8]) {
      await stages.train("lora", [rank], 0, { training: 30 });
    }
    const { json } = await stages.report();
    const [{ methods, contrasts }] = json.comparisons as [Comparison];
    assertEquals(methods[1]!.cost!.trainingSeconds, 90);
    assertEquals(contrasts[0]!.speedUp!.ranks, [1, 4]);
    assertEquals(contrasts[0]!.speedUp!.training, 60 / 40);
    const mean = (method: string) =>
      (stages.accuracy(method, 1, 0) + stages.accuracy(method, 4, 0)) / 2;
    const { difference } = contrasts[0]!.areas!.linear;
    const expected = mean("dylora") - mean("lora");
    assert(Math.abs(difference! - expected) < 1e-12, `${difference}`);
  });
});

Deno.test("report divides no seconds that several machines took, and names the machines", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0, { machine: "A, 2 threads" });
    await stages.train("lora", [2], 0, { machine: "B, 2 threads" });
    const { json, markdown } = await stages.report();
    const { speedUp } = json.comparisons[0]!.contrasts[0]!;
    assertEquals([speedUp!.sweep, speedUp!.training], [null, null]);
    assertEquals(speedUp!.examples, 1);
    assertMatch(
      markdown,
      /several machines, .*: DyLoRA: A, 2 threads. LoRA: B, 2 threads\./,
    );
    assertMatch(markdown, /\| LoRA, rank 2 \/ .* \| unknown \| unknown \| \d/);
  });
});

Deno.test("report counts a reduced LoRA as its one training, plus the reduction", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const rank of [1, 4]) {
      await stages.train("lora", [rank], 0, { training: 10 * rank });
    }
    await stages.reduce("lora-svd", 4, 0, { reduction: 0.5, evaluation: 2 });
    await stages.reduce("lora-truncated", 4, 0);
    const { json } = await stages.report();
    const [lora, svd, truncated] = json.comparisons[0]!.methods;
    assertEquals(lora!.role, "baseline");
    assertEquals(svd!.ranks.map(({ rank }) => rank), [1, 2, 3, 4]);
    const { trainings, trainingSeconds, reductionSeconds, sweepSeconds } = svd!
      .cost!;
    assertEquals(
      { trainings, trainingSeconds, reductionSeconds, sweepSeconds },
      {
        trainings: 1,
        trainingSeconds: 40,
        reductionSeconds: 0.5,
        sweepSeconds: 42.5,
      },
    );
    assertEquals(
      [lora, svd, truncated].map((
        it,
      ) => [it!.method, it!.cost!.reductionSeconds]),
      [["lora", 0], ["lora-svd", 0.5], ["lora-truncated", 0.5]],
    );
  });
});

Deno.test("report compares last and best epochs separately, and counts the cost of selecting the best", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    const epochs = ["last", "best"] as const;
    await stages.train("dylora", [1, 2], 0, { epochs });
    await stages.train("lora", [2], 0, { epochs });
    const { json } = await stages.report();
    assertEquals(
      json.comparisons.map(({ epoch, methods, contrasts }) => [
        epoch,
        methods.map(({ cost }) => cost!.selectionSeconds),
        methods.map(({ cost }) => cost!.selectionFlops),
        contrasts.length,
      ]),
      [["last", [0, 0], [0, 0], 1], ["best", [3, 3], [5e9, 5e9], 1]],
    );
    assertEquals(
      json.comparisons.map(({ methods }) => methods[0]!.selectedOn),
      [[], ["validation"]],
    );
    assertEquals(json.comparisons[1]!.methods[0]!.trainings[0]!.epochScores, [
      0.7,
    ]);
  });
});

Deno.test("report shows trainings without adapters as bounds of rank 0", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    await stages.train("lora", [2], 0);
    await stages.trainClassifier("head", 0);
    await stages.trainClassifier("full", 0);
    const { json } = await stages.report();
    const [{ methods, contrasts }] = json.comparisons as [Comparison];
    assertEquals(
      methods.map(({ method, role, recommendation }) => [
        method,
        role,
        recommendation !== null,
      ]),
      [
        ["dylora", "candidate", true],
        ["lora", "baseline", true],
        ["head", "bound", false],
        ["full", "bound", false],
      ],
    );
    assertEquals(contrasts.length, 1);
    assertEquals(
      methods.map(({ ranks, settings }) => [
        ranks.map(({ rank }) => rank),
        settings!.alpha,
        settings!.scale,
      ]),
      [
        [[1, 2], [16], ["alpha / b"]],
        [[2], [16], []],
        [[0], [], []],
        [[0], [], []],
      ],
    );
  });
});

Deno.test("report rejects a reduced LoRA without the LoRA that it was reduced from", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.reduce("lora-svd", 4, 0);
    await assertRejects(
      () => stages.report(),
      Error,
      '"reduce@mrpc,seed=0" was reduced from an adapter that is not connected',
    );
  });
});

Deno.test("report compares variants with the baselines that do not contradict them", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const rate of ["low", "high"]) {
      await stages.train("lora", [2], 0, {}, { rate });
      await stages.train("dylora", [1, 2], 0, {}, { rate, mode: "all" });
    }
    const { json } = await stages.report();
    const [{ methods, contrasts }] = json.comparisons as [Comparison];
    assertEquals(
      contrasts.map(({ candidate, baseline }) =>
        [candidate, baseline].map((place) =>
          methods[place]!.variant.learningRate
        )
      ),
      [[1e-4, 1e-4], [1e-2, 1e-2]],
    );
  });
});

Deno.test("report gives the size of adapters, and the seconds and losses of each training", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    const measured = { training: 40, evaluation: 6, apart: true };
    await stages.train("dylora", [1, 2, 4], 0, measured);
    await stages.train("lora", [4], 0, { training: 30, evaluation: 2 });
    await stages.reduce("lora-svd", 4, 0, { reduction: 0.5, evaluation: 3 });
    const { json } = await stages.report();
    const [{ methods }] = json.comparisons as [Comparison];
    // Rows of 8 and columns of 6 values in two modules; 2 x 8 weights and 2
    // biases.
    for (const { size } of methods) {
      assertEquals(size, { perRank: 28, others: 18 });
    }
    const seconds = methods.map(({ trainings: [first, ...others] }) => {
      assertEquals(others, []);
      const { steps: _1, losses: _2, epochScores: _3, ...rest } = first!;
      return rest;
    });
    const timed = { seed: 0, rank: 4, selectionSeconds: 0 };
    assertEquals(seconds, [
      {
        ...timed,
        stage: "train-dylora@mrpc,seed=0",
        trainingSeconds: 40,
        reductionSeconds: 0,
        evaluationSeconds: 18,
      },
      {
        ...timed,
        stage: "train-lora@mrpc,seed=0",
        trainingSeconds: 30,
        reductionSeconds: 0,
        evaluationSeconds: 2,
      },
      {
        ...timed,
        stage: "reduce@mrpc,seed=0",
        trainingSeconds: 30,
        reductionSeconds: 0.5,
        evaluationSeconds: 3,
      },
    ]);
    // 250 losses are means of three each, the last one of a single loss.
    const { steps, losses } = methods[0]!.trainings[0]!;
    assertEquals([steps.length, losses.length], [84, 84]);
    assertEquals([steps[0], steps[1], steps[83]], [30, 60, 2500]);
    const means = [
      (1 + 1 / 2 + 1 / 3) / 3,
      (1 / 4 + 1 / 5 + 1 / 6) / 3,
      1 / 250,
    ];
    [losses[0]!, losses[1]!, losses[83]!].forEach((loss, i) =>
      // Five digits.
      assert(Math.abs(loss / means[i]! - 1) < 1e-4)
    );
    assert(LOSSES.length > 100);
  });
});

Deno.test("report gives the same bytes each time", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    const { folder: _1, ...first } = await stages.report();
    const { folder: _2, ...second } = await stages.report();
    assertEquals(first, second);
  });
});

Deno.test("report writes its page and figures with a stage's permissions", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2, 4], 0);
    await stages.train("lora", [4], 0);
    const result = await runSandboxed(
      "report",
      folder,
      { replicates: 100 },
      { inputs: stages.inputs },
    );
    assertEquals(result.code, 0, result.text);
    assertEquals(
      [...Deno.readDirSync(result.output)].map(({ name }) => name).sort(),
      [
        "mrpc-validation-cost.svg",
        "mrpc-validation-loss.svg",
        "mrpc-validation.svg",
        "report.html",
        "report.json",
        "report.md",
      ],
    );
    const read = (name: string) =>
      Deno.readTextFileSync(join(result.output, name));
    const page = read("report.html");
    for (const kind of ["", "-cost", "-loss"]) {
      assert(page.includes(read(`mrpc-validation${kind}.svg`)));
      assertMatch(
        read("report.md"),
        new RegExp(`\\(mrpc-validation${kind}\\.svg\\)`),
      );
    }
    // A point for each score: three of DyLoRA, one of LoRA.
    const svg = read("mrpc-validation.svg");
    assertEquals(svg.match(/aria-roledescription="point"/g)?.length, 4);
  });
});

Deno.test("report works without baselines, and then reports no speed-up", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2, 3, 4], 0);
    const { json } = await stages.report();
    const [{ methods, contrasts }] = json.comparisons as [Comparison];
    assertEquals(contrasts, []);
    assertEquals(methods[0]!.ranks[0]!.metrics.accuracy!.deviation, null);
    assertNotEquals(methods[0]!.recommendation, null);
  });
});

Deno.test("report distinguishes variants of a method by the settings in which their trainings differ, however a pipeline names them", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0, {}, { mode: "all", rate: "low" });
    await stages.train("dylora", [1, 2], 0, {}, {
      mode: "frozen",
      rate: "low",
    });
    const { json } = await stages.report();
    assertEquals(
      json.comparisons[0]!.methods.map(({ method, variant }) => [
        method,
        variant,
      ]),
      [["dylora", { mode: "all" }], ["dylora", { mode: "frozen" }]],
    );
  });
});

Deno.test("report tells DyLoRAs of two ranks apart by their rank", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0, {}, { maximum: "2" });
    await stages.train("dylora", [1, 2, 4], 0, {}, { maximum: "4" });
    for (const rank of [2, 4]) await stages.train("lora", [rank], 0);
    const { json } = await stages.report();
    assertEquals(
      json.comparisons[0]!.methods.map(({ method, variant, ranks }) => [
        method,
        variant,
        ranks.map(({ rank }) => rank),
      ]),
      [
        ["dylora", { rank: 2 }, [1, 2]],
        ["dylora", { rank: 4 }, [1, 2, 4]],
        ["lora", {}, [2, 4]],
      ],
    );
  });
});

Deno.test("report tells variants apart by as few settings as possible, and compares with what shares them", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    // Mode and rate change together; LoRA has the rate of one of them.
    await stages.train("dylora", [1, 2], 0, {}, { mode: "all", rate: "low" });
    await stages.train("dylora", [1, 2], 0, {}, {
      mode: "frozen",
      rate: "high",
    });
    await stages.train("lora", [2], 0, {}, { rate: "low" });
    const of = async () => {
      const [{ methods, contrasts }] = (await stages.report()).json
        .comparisons as [Comparison];
      return [methods.map(({ variant }) => variant), contrasts.length];
    };
    assertEquals(await of(), [[{ mode: "all" }, { mode: "frozen" }, {}], 2]);
    // A third training, for which the mode is not enough.
    await stages.train("dylora", [1, 2], 0, {}, { mode: "all", rate: "high" });
    assertEquals(await of(), [
      [
        { learningRate: 1e-4, mode: "all" },
        { learningRate: 1e-2, mode: "frozen" },
        { learningRate: 1e-4 },
        { learningRate: 1e-2, mode: "all" },
      ],
      1,
    ]);
    // Nothing tells equal trainings apart.
    await stages.train("dylora", [1, 2], 0, {}, {
      mode: "all",
      rate: "high",
      again: "yes",
    });
    await assertRejects(
      () => stages.report(),
      Error,
      'Rank 1 of "dylora" on "mrpc" is evaluated twice for one seed (0, 0), and nothing in the settings of its trainings tells them apart',
    );
  });
});

Deno.test("report lists the most confident mistakes, with their texts if the data are connected", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    const without = (await stages.report()).json.comparisons[0]!.mistakes;
    assertEquals(Object.keys(without.worst[0]!), [
      ...["example", "label", "prediction", "probability"],
    ]);
    const data = await stages.addData();
    const { json, markdown, page } = await stages.report();
    const { method, rank, classes, worst } = json.comparisons[0]!.mistakes;
    assertEquals([method, rank], [0, 2]);
    // At rank 2, every fifth example from the second on is wrong, by the same
    // margin.
    const { label, prediction, probability, ...place } = worst[1]!;
    assertEquals(place, { example: 6, text: "text 6", pair: "<pair> 6" });
    assertEquals([label, prediction], ["not_equivalent", "equivalent"]);
    assertAlmostEquals(probability!, 1 / (1 + Math.exp(-2)), 1e-12);
    assertEquals(worst.length, 10);
    assertEquals(classes!.map(({ predicted }) => predicted), [[16, 4], [
      8,
      32,
    ]]);
    assertMatch(
      markdown,
      /\| 7 \| not\\_equivalent \| equivalent \| 88\.1 \| text 6 \|/,
    );
    assert(
      page.includes("<td>&#60;pair&#62; 6</td>") ||
        page.includes("&lt;pair&gt; 6"),
    );
    await Deno.writeTextFile(
      join(data, "validation.jsonl"),
      (await Deno.readTextFile(join(data, "validation.jsonl")))
        .replace('"label":0', '"label":1'),
    );
    await assertRejects(
      () => stages.report(),
      Error,
      '"evaluate-dylora@mrpc,seed=0" scores other examples than "data@mrpc" has',
    );
  });
});

Deno.test("report rejects scores whose training is not connected", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    await stages.train("dylora", [1, 2], 1);
    stages.inputs.adapters!.pop();
    await assertRejects(
      () => stages.report(),
      Error,
      '"evaluate-dylora@mrpc,seed=1" scores a training of dylora on "mrpc" with seed 1 that is not connected',
    );
  });
});

Deno.test("report rejects scores of another training than the connected one", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("lora", [4], 0);
    const { path } = stages.inputs.adapters![0]!;
    const record = JSON.parse(
      await Deno.readTextFile(join(path, "training.json")),
    );
    await Deno.writeTextFile(
      join(path, "training.json"),
      JSON.stringify({ ...record, rank: 8 }),
    );
    await assertRejects(
      () => stages.report(),
      Error,
      '"evaluate-lora@mrpc,seed=0" scores a training of lora on "mrpc" with seed 0 that is not connected',
    );
  });
});

Deno.test("report counts an adapter that was evaluated rank by rank as one training", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    for (const seed of [0, 1]) {
      await stages.train("dylora", [1, 2, 4], seed, {
        training: 40,
        evaluation: 3,
        apart: true,
      });
      await stages.train("lora", [4], seed, { training: 40, evaluation: 2 });
    }
    const { json } = await stages.report();
    const [comparison] = json.comparisons;
    const { cost, ranks } = comparison!.methods[0]!;
    assertEquals(ranks.map(({ rank }) => rank), [1, 2, 4]);
    assertEquals(cost!.trainings, 1);
    assertEquals(cost!.steps, 100);
    assertEquals(cost!.trainingSeconds, 40);
    assertEquals(cost!.evaluationSeconds, 3 * 3);
    assertEquals(cost!.evaluationFlops, 3 * 1e9);
    assertEquals(comparison!.contrasts[0]!.speedUp!.training, 1);
  });
});

Deno.test("report finds the scores of an imported adapter whose task is unknown", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    const path = join(stages.inputs.adapters![0]!.path, "training.json");
    await writeJsonFile(path, {
      method: { name: "dylora" },
      imported: true,
      reducedBy: null,
      task: "imported",
      problem: "classification",
      labels: ["LABEL_0", "LABEL_1"],
      rank: 2,
      alpha: 16,
      scaling: "rank",
      targetModules: ["query", "value"],
      seed: 0,
      selection: null,
    });
    const scores = stages.inputs.scores![0]!.path;
    await stages.writeScores(scores, "imported-dylora", [1, 2], 0, EXAMPLES, {
      training: await digestOf(path),
    });
    const [comparison] = (await stages.report()).json.comparisons;
    assertEquals(
      comparison!.methods.map(({ method, cost }) => [method, cost]),
      [["imported-dylora", null]],
    );
  });
});

Deno.test("report refuses a training that reported no seconds", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1, 2], 0);
    const adapters = stages.inputs.adapters!;
    adapters[0] = { ...adapters[0]!, metrics: {} };
    await assertRejects(
      () => stages.report(),
      Error,
      "has no recorded training_seconds",
    );
  });
});

Deno.test("report refuses scores of different examples", async () => {
  await withFolder(async (folder) => {
    const stages = new TrainedStages(folder);
    await stages.train("dylora", [1], 0);
    await stages.train("lora", [1], 0);
    const { path } = stages.inputs.scores![1]!;
    const { training } = await readScores(path);
    await stages.writeScores(path, "lora", [1], 0, EXAMPLES - 1, { training });
    await assertRejects(
      () => stages.report(),
      Error,
      "cover different examples",
    );
  });
});
