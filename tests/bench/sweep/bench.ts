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
import {
  type Arguments,
  type Command,
  EXIT,
  readOptions,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import {
  glueFolder,
  minilmFolder,
  peerPython,
  PRECISION,
  type Precision,
  precisionsOf,
  secondsOf,
} from "../options.ts";
import { TimedPipeline } from "../timed_pipeline.ts";

const RANKS = [1, 2, 3, 4, 5, 6, 7, 8];

/** Trainings at a time. */
const PROCESSES = 2;

/** Accuracies at every rank. */
const Scores = z.strictObject({
  dylora: z.array(z.number()).length(RANKS.length),
  lora: z.array(z.number()).length(RANKS.length),
});

/** `deno task bench sweep`. */
export const command: Command = {
  name: "bench sweep",
  usage: "",
  description:
    "Time a sweep on SST-2 with MiniLM against PyTorch with PEFT: one DyLoRA and a LoRA of each rank from 1 to 8, all scored at every rank, two trainings at a time. Prints seconds of this project and of the peer, medians, their ratio, and the mean accuracies of both. PEFT_PYTHON names the peer's Python, DYLORA_MINILM the folder of all-MiniLM-L6-v2, DYLORA_GLUE that of GLUE's TSV files. Run it on an idle machine.",
  options: [
    PRECISION,
    {
      name: "rounds",
      value: "N",
      description: "Sweeps of each side per row (default 1)",
    },
    {
      name: "examples",
      value: "N",
      description: "Training examples (default 8192)",
    },
    ...readOptions(JSON_LINES),
  ],
  examples: [
    ["--json", "Time both precisions, one row per line"],
    ["--precision f32 --examples 512", "A short sweep in float32"],
  ],
  positionals: { min: 0, max: 0 },
  run: bench,
};

async function bench(given: Arguments): Promise<number> {
  const python = peerPython();
  const model = minilmFolder();
  const data = glueFolder();
  const precisions = precisionsOf(given);
  const rounds = given.integer("rounds", 1) ?? 1;
  const examples = given.integer("examples", 1) ?? 8192;
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
            await peerScores(python, { model, data, precision, examples }),
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
      given.has("json")
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
  { model, data, precision, examples }: {
    readonly model: string;
    readonly data: string;
    readonly precision: Precision;
    readonly examples: number;
  },
): Promise<z.output<typeof Scores>> {
  const request = {
    model,
    data: join(data, "SST-2"),
    examples,
    max_length: 128,
    precision,
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
