/**
 * Times one epoch of LoRA on MRPC, from text to trained, as whole processes:
 * our pipeline with model and data fetched, and PyTorch + transformers + PEFT.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     DYLORA_MINILM=MODEL DYLORA_GLUE=GLUE deno task bench epoch --json
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "../../../lib/engine/median.ts";
import { type EpochWork, timePeerEpoch } from "../peer/epoch.ts";
import { EpochPipeline } from "./ours.ts";

/** What is timed: a precision, and how the peer pads. We always pad to the longest of a batch. */
const works = [
  { name: "mrpc epoch", precision: "bf16", padding: "longest" },
  { name: "mrpc epoch", precision: "f32", padding: "longest" },
  {
    name: "mrpc epoch, peer padded to 128",
    precision: "f32",
    padding: "max_length",
  },
] as const;

/** Runs the benchmark; `deno task bench epoch` comes here. */
export async function bench(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: "3" },
      precision: { type: "string", default: "bf16,f32" },
    },
  });
  const python = given(
    "PEFT_PYTHON",
    'run eval "$(sh tests/bench/peer/setup.sh)"',
  );
  const model = given("DYLORA_MINILM", "name the folder of all-MiniLM-L6-v2");
  const data = given("DYLORA_GLUE", "name a folder of GLUE's TSV files");
  using ours = await EpochPipeline.prepare(model, data);
  for (const { name, precision, padding } of works) {
    if (!values.precision.split(",").includes(precision)) continue;
    const work: EpochWork = {
      model,
      data: join(data, "MRPC/train.tsv"),
      padding,
      maxLength: 128,
      precision,
      batch: 32,
      learningRate: 1e-3,
      rank: 8,
      alpha: 16,
      threads: 2,
    };
    const times = { ours: [] as number[], peer: [] as number[] };
    for (let round = 0; round < Number(values.rounds); round++) {
      times.ours.push(await seconds(() => ours.train(precision)));
      times.peer.push(await seconds(() => timePeerEpoch(python, work)));
    }
    const [mine, theirs] = [median(times.ours), median(times.peer)];
    const row = {
      work: name,
      precision,
      ours: mine,
      peer: theirs,
      ratio: mine / theirs,
    };
    console.log(
      values.json
        ? JSON.stringify(row)
        : `${name.padEnd(40)} ${precision.padEnd(5)} ` +
          `${mine.toFixed(1).padStart(8)} ${theirs.toFixed(1).padStart(8)} ` +
          `${row.ratio.toFixed(2).padStart(6)}`,
    );
  }
}

function given(name: string, remedy: string): string {
  const value = Deno.env.get(name);
  if (value !== undefined) return value;
  console.error(`${name} is not set: ${remedy}`);
  Deno.exit(2);
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1000;
}
