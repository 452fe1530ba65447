import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readText } from "../../lib/pipeline/faults.ts";
import type { Graph } from "../../lib/pipeline/graph.ts";
import { expandPipeline } from "../../lib/pipeline/load.ts";
import { loadTask } from "../../lib/pipeline/load_task.ts";
import { canonicalJson, digest } from "../../lib/files/digest.ts";
import resolved from "./resolved.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const NAMES = [...Deno.readDirSync(join(ROOT, "pipelines"))]
  .flatMap(({ name }) => /^(.+)\.yaml$/.exec(name)?.[1] ?? []).sort();

async function load(
  name: string,
  values: Readonly<Record<string, unknown>> = {},
  profile?: string,
): Promise<Graph> {
  const file = join(ROOT, "pipelines", `${name}.yaml`);
  return await expandPipeline(file, await readText(file), {
    tasks: join(ROOT, "tasks"),
    profile,
    settings: Object.entries(values).map(([key, value]) => ({ key, value })),
  });
}

/**
 * The tiny model and data, as a pipeline takes them; those for users' data have
 * them by default.
 */
function tiny(name: string): Record<string, string> {
  return {
    model: `./fixtures/tiny-${name === "e2e" ? "llama" : "roberta"}`,
    ...(!["own-data", "resize", "e2e", "retrieval"].includes(name) &&
      { data: "./fixtures/tiny-glue" }),
  };
}

for (const name of NAMES) {
  Deno.test(`pipeline ${name} loads with each of its profiles, and with the tiny model and data`, async () => {
    const text = Deno.readTextFileSync(join(ROOT, "pipelines", `${name}.yaml`));
    const profiles = /^profiles:\n((?: {2}.*\n)+)/m.exec(text)?.[1] ?? "";
    const names = [...profiles.matchAll(/^ {2}([\w-]+):/gm)]
      .map(([, profile]) => profile!);
    for (const profile of [undefined, ...names]) {
      const { pipeline, stages } = await load(name, tiny(name), profile);
      assertEquals(pipeline, name);
      assert(stages.has("report"));
      assert(stages.get("report")!.inputs.scores!.length > 0);
      const scores = [...stages.values()]
        .filter(({ task }) => task === "report")
        .flatMap(({ inputs }) => inputs.scores!);
      // The tiny model has positions for 64 tokens.
      const { maxLength } = [...stages.values()]
        .find(({ task }) => task === "tokenize")!.params;
      assert(profile !== "trial" || (maxLength ?? 0) as number <= 64);
      // What is evaluated is reported.
      const evaluated = [...stages.values()].filter(({ declaration }) =>
        declaration.output.kind === "scores"
      ).map(({ id }) => id);
      assertEquals(scores.sort(), evaluated.sort());
      // An exported adapter has a tokenizer, and a base model that PEFT finds.
      for (const { task, inputs } of stages.values()) {
        if (task === "export-adapter") assertEquals(inputs.model?.length, 1);
      }
    }
  });
}

/**
 * Number of stages, and a digest of what their ids and keys come from:
 * parameters that are no defaults, inputs, and processors.
 */
async function summary({ stages }: Graph): Promise<string> {
  const parts = await Promise.all([...stages.values()].map(async (stage) => {
    const { id, task, module, params, inputs, resources, declaration } = stage;
    const { shape } = (await loadTask(module)).params;
    const given = Object.entries(params).filter(([name, value]) =>
      canonicalJson(shape[name].safeParse(undefined).data ?? null) !==
        canonicalJson(value ?? null)
    );
    const cpus = declaration.needs.length > 0 ? resources.cpus : 0;
    return canonicalJson([id, task, Object.fromEntries(given), inputs, cpus]);
  }));
  const content = await digest(parts.sort().join());
  return `${stages.size} ${content.slice(0, 16)}`;
}

Deno.test("pipelines have the stages and keys that resolved.json records", async () => {
  const found: Record<string, Record<string, string>> = {};
  for (const [name, cases] of Object.entries(resolved)) {
    found[name] = {};
    for (const key of Object.keys(cases)) {
      const [, profile, set = "", value] = /^([\w-]+)(?: -S (\w+)=(\w+))?$/
        .exec(key)!;
      found[name][key] = await summary(
        await load(
          name,
          // By itself, it takes the processors of the machine.
          name === "own-data"
            ? { cpus: 1 }
            : set === ""
            ? {}
            : { [set]: value },
          profile === "default" ? undefined : profile,
        ),
      );
    }
  }
  assertEquals(found, resolved);
});

Deno.test("pipelines add stages for a test set, and change no other stage", async () => {
  for (const name of ["own-data", "e2e"]) {
    const without = (await load(name, tiny(name))).stages;
    const { stages } = await load(name, { ...tiny(name), test: "test.csv" });
    const rest = new Map([...stages].filter(([id]) => without.has(id)));
    assertEquals(rest, new Map(without));
    const added = [...stages.values()].filter(({ id }) => !without.has(id));
    assertEquals(
      new Set(added.map(({ task }) => task)),
      new Set([
        "fetch-data",
        "tokenize",
        "evaluate-ranks",
        "report",
        ...name === "e2e" ? ["generate"] : [],
      ]),
    );
  }
});

Deno.test("pipelines reduce LoRAs of the ranks that they name, whether the user's ranks have them or not", async () => {
  const reducedBy = {
    "sst2-mini": [8, 64],
    "glue-mini": [8],
    "glue-full": [8],
    nested: [8],
  };
  for (const [name, reduced] of Object.entries(reducedBy)) {
    const { stages } = await load(name, { ranks: [4, 2], seeds: [0] });
    const trained = [...stages.keys()]
      .filter((id) => /^train-lora@/.test(id))
      .map((id) => Number(/rank=(\d+)/.exec(id)![1]));
    assertEquals(new Set(trained), new Set([4, 2, ...reduced]), name);
    const sources = [...stages.values()]
      .filter(({ task }) => task === "reduce-adapter")
      .map(({ inputs }) =>
        Number(/^train-lora@.*rank=(\d+)/.exec(inputs.adapter![0]!)![1])
      );
    assertEquals(new Set(sources), new Set(reduced), name);
  }
});

Deno.test("pipeline nested takes the rank of a variant in place of its own, and leaves out what has an empty list", async () => {
  const params = async (profile: string, tasks: string[]) => {
    const { stages } = await load("nested", { tasks, seeds: [0] }, profile);
    return new Map(
      [...stages.values()].filter(({ task }) => /^train-(dy)?lora$/.test(task))
        .map(({ id, params }) => [id, params]),
    );
  };
  const range = await params("range", ["sst2"]);
  const ranksOf = (id: string) => {
    const { rank, sourceRanks } = range.get(id)!;
    return { rank, sourceRanks };
  };
  assertEquals(ranksOf("train-dylora@sst2,sorted-60-log,seed=0"), {
    rank: 64,
    sourceRanks: [],
  });
  assertEquals(ranksOf("train-dylora@sst2,from-64-log,seed=0"), {
    rank: 8,
    sourceRanks: [64],
  });
  const rates = await params("rates", ["cola"]);
  const grid = [1, 8, 64].flatMap((rank) =>
    [1e-4, 3e-4, 1e-3, 3e-3, 1e-2].map((rate) => [rank, rate, 10])
  );
  assertEquals(
    [...rates.values()].map((it) => [it.rank, it.learningRate, it.epochs]),
    grid,
  );
});

Deno.test("pipeline own-data takes pairs, scores and a validation file by its parameters", async () => {
  const { stages } = await load("own-data", {
    train: "a.csv",
    validation: "b.jsonl",
    text: "question",
    pair: "answer",
    label: "score",
    regression: true,
    name: "answers",
  });
  const { params } = stages.get("data")!;
  assertEquals(params, {
    name: "answers",
    files: { train: "a.csv", validation: "b.jsonl", corpus: null },
    holdout: 0.1,
    text: "question",
    pair: "answer",
    label: "score",
    regression: true,
    classes: null,
    labels: null,
    positive: null,
    group: null,
    negatives: null,
    score: null,
    scoreRange: null,
    separator: null,
    seed: 0,
    encoding: "utf-8",
    missing: "refuse",
    repeated: "keep",
    tags: "refuse",
  });
  const { params: exported, inputs } = stages.get("take-away@seed=0")!;
  assertEquals(exported.rank, "recommended");
  assertEquals(inputs.report, ["report"]);
});

Deno.test("pipeline own-data sorts a LoRA of rank 64 unless it is told to draw ranks", async () => {
  const trained = async (profile?: string) => {
    const { stages } = await load("own-data", {}, profile);
    const { rank, sourceRanks, sortAt, scope, scaling } =
      stages.get("train-dylora@seed=0")!.params;
    return [rank, sourceRanks, sortAt, scope, scaling];
  };
  const scaling = "maximum";
  assertEquals(
    await Promise.all([undefined, "descend", "paper"].map(trained)),
    [
      [64, [], 1, "model", scaling],
      [8, [64], 0.6, "example", scaling],
      [8, [], 0, "model", "rank"],
    ],
  );
});

Deno.test("pipeline own-data compares with LoRA by profile compare only", async () => {
  const trained = (stages: Graph["stages"]) =>
    [...stages.keys()].filter((id) => /lora|heads/.test(id)).sort();
  const alone = await load("own-data", { seeds: [3] });
  assertEquals(trained(alone.stages), [
    "evaluate-dylora@seed=3",
    "evaluate-heads@seed=3",
    "fit-heads@seed=3",
    "train-dylora@seed=3",
  ]);
  const values = { seeds: [3], loraRanks: [1, 2], fittedRanks: [2] };
  const { stages } = await load("own-data", values, "compare");
  assertEquals(trained(stages), [
    "evaluate-dylora@seed=3",
    "evaluate-fitted-lora@rank=2,seed=3",
    "evaluate-heads@seed=3",
    "evaluate-lora@rank=1,seed=3",
    "evaluate-lora@rank=2,seed=3",
    "fit-heads@seed=3",
    "fit-lora@rank=2,seed=3",
    "train-dylora@seed=3",
    "train-lora@rank=1,seed=3",
    "train-lora@rank=2,seed=3",
  ]);
  assertEquals(stages.get("report")!.inputs.scores!.length, 5);
});

Deno.test("pipeline ablation tries the paper's variants, and a list with all rows", async () => {
  const { stages } = await load("ablation", { seeds: [0] });
  const variants = [...stages.values()].flatMap(({ task, params }) => {
    if (task !== "train-dylora") return [];
    const { sampler, mode } = params;
    return [`${(sampler as { kind: string }).kind} ${mode}`];
  });
  assertEquals(variants.sort(), [
    "geometric all",
    "geometric frozen",
    "list all",
    "uniform all",
    "uniform frozen",
  ]);
});

Deno.test("pipeline ablation evaluates both epochs of every training on both sets of MNLI by profile paper", async () => {
  const { stages } = await load("ablation", {}, "paper");
  const splits = new Map<string, string[]>();
  for (const { task, params, inputs } of stages.values()) {
    if (task !== "evaluate-ranks") continue;
    const [adapter] = inputs.adapter!;
    const found = `${params.split} ${params.epoch}`;
    splits.set(adapter!, [...splits.get(adapter!) ?? [], found]);
  }
  assertEquals(
    splits.size,
    [...stages.keys()].filter((id) => id.startsWith("train-")).length,
  );
  for (const [adapter, found] of splits) {
    const sets = adapter.includes("@mnli,")
      ? ["validation", "validation_mismatched"]
      : ["validation"];
    assertEquals(
      found,
      sets.flatMap((set) => [`${set} last`, `${set} best`]),
    );
  }
});

Deno.test("pipeline glue-full has one setting for all tasks by the paper, and starts from the model", async () => {
  const { stages } = await load("glue-full");
  for (const task of ["cola", "mnli", "rte"]) {
    const { params, inputs } = stages.get(`train-dylora@${task},seed=0`)!;
    assertEquals(params.epochs, 30);
    assertEquals(params.batchSize, 32);
    assertEquals(params.accumulation, 1);
    assertEquals(params.learningRate, 4e-4);
    assertEquals(params.padding, "longest");
    assertEquals("start" in inputs, false);
  }
  assert(![...stages.keys()].some((id) => id.startsWith("mnli-")));
});

Deno.test("pipeline glue-full has the settings of the official scripts, and the chain from MNLI", async () => {
  const { stages } = await load("glue-full", { protocol: "scripts" });
  // Examples of a step, learning rate, epochs, chained: the official scripts.
  const scripts: Record<string, [number, number, number, boolean]> = {
    cola: [2 * 32, 4e-4, 80, false],
    sst2: [8 * 16, 5e-4, 60, false],
    mrpc: [8 * 16, 4e-4, 30, true],
    stsb: [8 * 16, 4e-4, 40, true],
    qqp: [8 * 16, 5e-4, 25, false],
    mnli: [8 * 16, 5e-4, 30, false],
    qnli: [8 * 32, 4e-4, 25, false],
    rte: [8 * 16, 5e-4, 80, true],
  };
  for (const [task, [batch, lr, epochs, chained]] of Object.entries(scripts)) {
    for (
      const [train, rank] of [["dylora", ""], ["lora", ",rank=1"]] as const
    ) {
      const stage = stages.get(`train-${train}@${task},seed=0${rank}`)!;
      const { batchSize, accumulation, learningRate } = stage.params;
      assertEquals((batchSize as number) * (accumulation as number), batch);
      assertEquals(learningRate, lr);
      assertEquals(stage.params.epochs, epochs);
      assertEquals(stage.params.padding, "maxLength");
      assertEquals(
        stage.inputs.start,
        chained ? [`mnli-${train}@${task},seed=0${rank}`] : undefined,
      );
    }
  }
  assertEquals(stages.get("train-dylora@cola,seed=0")!.params.mode, "frozen");
  // The start is the training of MNLI itself, so it runs once for all.
  const mnli = stages.get("train-dylora@mnli,seed=0")!;
  const start = stages.get("mnli-dylora@rte,seed=0")!;
  assertEquals(start.params, mnli.params);
  assertEquals(Object.keys(start.inputs), Object.keys(mnli.inputs));
});
