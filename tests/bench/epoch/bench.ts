/**
 * Times one epoch of LoRA on MRPC, from text to trained, as whole processes:
 * our pipeline with model and data fetched, and PyTorch + transformers + PEFT.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     DYLORA_MINILM=MODEL DYLORA_GLUE=GLUE deno task bench epoch --json
 */
import { join } from "node:path";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import {
  benchmark,
  glueFolder,
  minilmFolder,
  peerPython,
  PRECISION,
  precisionsOf,
  secondsOf,
} from "../options.ts";
import { type EpochWork, timePeerEpoch } from "../peer/epoch.ts";
import { TimedPipeline } from "../timed_pipeline.ts";

/**
 * The timed work: a precision, and how the peer pads. We always pad to the
 * longest of a batch.
 */
const works = [
  { name: "mrpc epoch", precision: "bf16", padding: "longest" },
  { name: "mrpc epoch", precision: "f32", padding: "longest" },
  {
    name: "mrpc epoch, peer padded to 128",
    precision: "f32",
    padding: "max_length",
  },
] as const;

/** `deno task bench epoch`. */
export const command = benchmark`
  epoch

  Time an epoch of LoRA on MRPC, from text to trained adapter, against PyTorch with PEFT, as whole processes in turn. Prints seconds of this project and of the peer, medians, and their ratio. PEFT_PYTHON names the peer's Python, DYLORA_MINILM the folder of all-MiniLM-L6-v2, DYLORA_GLUE that of GLUE's TSV files. Run it on an idle machine.

  Options:
  ${PRECISION}
  --rounds N  Epochs that each side trains per row (default 3)
  ${JSON_LINES}

  Examples:
  --json  Time everything, one row per line
  --precision bf16 --rounds 1  One epoch of each side in bfloat16
`(bench);

async function bench(args: Arguments): Promise<number> {
  const python = peerPython();
  const model = minilmFolder();
  const data = glueFolder();
  const precisions = precisionsOf(args);
  const rounds = args.integer("rounds", 1) ?? 3;
  const file = join(import.meta.dirname!, "mrpc.yaml");
  using ours = new TimedPipeline(file, { model, data });
  await ours.run("model", "data");
  for (const { name, precision, padding } of works) {
    if (!precisions.includes(precision)) continue;
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
    for (let round = 0; round < rounds; round++) {
      times.ours.push(
        await secondsOf(() =>
          ours.run(
            "tokens",
            "trained",
            "--force",
            "-S",
            `precision=${precision}`,
          )
        ),
      );
      times.peer.push(await secondsOf(() => timePeerEpoch(python, work)));
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
      args.has("json")
        ? JSON.stringify(row)
        : `${name.padEnd(40)} ${precision.padEnd(5)} ` +
          `${mine.toFixed(1).padStart(8)} ${theirs.toFixed(1).padStart(8)} ` +
          `${row.ratio.toFixed(2).padStart(6)}`,
    );
  }
  return EXIT.success;
}
