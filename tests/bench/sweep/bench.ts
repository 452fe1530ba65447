/**
 * Times a whole sweep over ranks, from text to the table: our pipeline with
 * model and data fetched, and a script with PyTorch and PEFT.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     DYLORA_MINILM=MODEL DYLORA_GLUE=GLUE deno task bench sweep --json
 */
import { join } from "node:path";
import * as z from "zod";
import { readScores } from "../../../lib/artifacts/scores.ts";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import type { Event } from "../../../lib/scheduler/events.ts";
import {
  benchmark,
  glueFolder,
  minilmFolder,
  peerPython,
  PRECISION,
  type Precision,
  precisionsOf,
  secondsOf,
} from "../options.ts";
import { TimedPipeline } from "../timed_pipeline.ts";
import { type Part, partsOf } from "./parts.ts";

const RANKS = [1, 2, 3, 4, 5, 6, 7, 8];

/** Trainings at a time. */
const PROCESSES = 2;

/** Accuracies at every rank. */
const Scores = z.strictObject({
  dylora: z.array(z.number()).length(RANKS.length),
  lora: z.array(z.number()).length(RANKS.length),
});

/** `deno task bench sweep`. */
export const command = benchmark`
  sweep

  Time a sweep on SST-2 with MiniLM against PyTorch with PEFT: one DyLoRA and a LoRA of each rank from 1 to 8, all scored at every rank, two trainings at a time. Prints seconds of this project and of the peer, medians, their ratio, and the mean accuracies of both. PEFT_PYTHON names the peer's Python, DYLORA_MINILM the folder of all-MiniLM-L6-v2, DYLORA_GLUE that of GLUE's TSV files. Run it on an idle machine.

  Options:
  ${PRECISION}
  --rounds N  Sweeps of each side per row (default 1)
  --examples N  Training examples (default 8192)
  --plain  Time the peer as a folder of scripts has it: a process for each training, and batches drawn at random, the default of transformers, instead of a pool and batches of like length
  --parts  Show where the seconds go instead: of the stages' places by task, and within a training and an evaluation of LoRA, each run alone under perf
  ${JSON_LINES}

  Examples:
  --json  Time both precisions, one row per line
  --parts --precision f32  Where the seconds go in float32
  --precision f32 --examples 512  A short sweep in float32
`(bench);

async function bench(args: Arguments): Promise<number> {
  if (args.has("parts")) return await showParts(args);
  const python = peerPython();
  const model = minilmFolder();
  const data = glueFolder();
  const precisions = precisionsOf(args);
  const rounds = args.integer("rounds", 1) ?? 1;
  const examples = args.integer("examples", 1) ?? 8192;
  for (const precision of precisions) {
    const times = { ours: [] as number[], peer: [] as number[] };
    const scores = { ours: NaN, peer: NaN };
    for (let round = 0; round < rounds; round++) {
      using ours = new TimedPipeline(join(import.meta.dirname!, "sweep.yaml"), {
        model,
        data,
        precision,
        examples: `${examples}`,
      });
      await ours.run("model", "data");
      times.ours.push(await secondsOf(() => ours.run()));
      scores.ours = mean(await ourScores(ours));
      times.peer.push(
        await secondsOf(async () => {
          scores.peer = mean(
            await peerScores(python, {
              ...{ model, data, precision, examples },
              plain: args.has("plain"),
            }),
          );
        }),
      );
    }
    const [mine, theirs] = [median(times.ours), median(times.peer)];
    const row = {
      work: "sweep",
      precision,
      ours: mine,
      peer: theirs,
      ratio: mine / theirs,
      oursAccuracy: scores.ours,
      peerAccuracy: scores.peer,
    };
    console.log(
      args.has("json")
        ? JSON.stringify(row)
        : `sweep ${precision.padEnd(5)} ${mine.toFixed(1).padStart(8)} ` +
          `${theirs.toFixed(1).padStart(8)} ${row.ratio.toFixed(2)}, ` +
          `mean accuracy ${scores.ours.toFixed(3)} and ${
            scores.peer.toFixed(3)
          }`,
    );
  }
  return EXIT.success;
}

/** Prints where the seconds of a sweep go. */
async function showParts(args: Arguments): Promise<number> {
  const examples = args.integer("examples", 1) ?? 8192;
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  for (const precision of precisionsOf(args)) {
    const print = (work: string, [part, seconds]: Part) =>
      console.log(
        args.has("json")
          ? JSON.stringify({ work, precision, part, seconds })
          : `${precision.padEnd(5)} ${work.padEnd(16)} ` +
            `${seconds.toFixed(2).padStart(8)}  ${part}`,
      );
    using ours = new TimedPipeline(join(import.meta.dirname!, "sweep.yaml"), {
      model: minilmFolder(),
      data: glueFolder(),
      precision,
      examples: `${examples}`,
    });
    await ours.run("model", "data");
    for (const part of placesOf(await ours.run("--json"))) print("sweep", part);
    const output = (stage: string) => ours.output("bench-sweep", stage);
    const [model, tokens, adapter] = ["model", "tokens", "train-lora@rank=8"]
      .map(output);
    const training = { alpha: 16, epochs: 1, batchSize: 32, rank: 8 };
    for (
      const [task, params, inputs] of [
        ["train-lora", { ...training, learningRate: 2e-3 }, { model, tokens }],
        ["evaluate-ranks", {}, { model, tokens, adapter }],
      ] as const
    ) {
      const folder = (name: string) => output(`${task} ${name}`);
      const work = {
        task,
        params: { ...params, precision },
        inputs: inputs as Readonly<Record<string, string>>,
        library: choice.library!,
        compiledBefore: folder("compiled/engine"),
      };
      // The first process compiles what the second one loads.
      for (const [run, when] of ["compiling", "loading"].entries()) {
        const parts = await partsOf({
          ...work,
          output: folder(`${run}/output`),
          checkpoint: folder(`${run}/checkpoint`),
          compiledNow: folder(`${run}/compiled`),
        });
        for (const part of parts) print(`${task}, ${when}`, part);
      }
    }
  }
  return EXIT.success;
}

/**
 * What the places for stages did in a run, by its events: seconds by task, and
 * with nothing to run.
 */
function placesOf(events: string): Part[] {
  const seconds = new Map<string, number>();
  let waiting = 0;
  for (const line of events.trim().split("\n")) {
    const event = JSON.parse(line) as Event;
    if (event.type === "finished" && event.outcome === "ran") {
      const name = event.stage.split("@")[0]!;
      seconds.set(name, (seconds.get(name) ?? 0) + event.seconds);
      waiting -= event.seconds;
    }
    if (event.type === "summary") waiting += PROCESSES * event.seconds;
  }
  return [...seconds, ["nothing, of two places", waiting]];
}

/** The scores in the pipeline's artifacts. */
async function ourScores(
  ours: TimedPipeline,
): Promise<z.output<typeof Scores>> {
  const read = async (stage: string) => {
    const { ranks } = await readScores(ours.output("bench-sweep", stage));
    return ranks.map(({ metrics }) => metrics.accuracy);
  };
  const lora = await Promise.all(
    RANKS.map((rank) => read(`evaluate-lora@rank=${rank}`)),
  );
  return Scores.parse({
    dylora: await read("evaluate-dylora"),
    lora: lora.flat(),
  });
}

async function peerScores(
  python: string,
  { data, ...args }: {
    readonly model: string;
    readonly data: string;
    readonly precision: Precision;
    readonly examples: number;
    readonly plain: boolean;
  },
): Promise<z.output<typeof Scores>> {
  const request = {
    ...args,
    data: join(data, "SST-2"),
    max_length: 128,
    batch: 32,
    learning_rate: 2e-3,
    ranks: RANKS,
    alpha: 16,
    processes: PROCESSES,
  };
  const { success, code, stdout } = await new Deno.Command(python, {
    args: [
      ...["-W", "ignore", join(import.meta.dirname!, "../peer/sweep.py")],
      JSON.stringify(request),
    ],
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`The peer "${python}" ended with code ${code}`);
  return Scores.parse(JSON.parse(new TextDecoder().decode(stdout)));
}

function mean({ dylora, lora }: z.output<typeof Scores>): number {
  const all = [...dylora, ...lora];
  return all.reduce((sum, score) => sum + score / all.length, 0);
}
