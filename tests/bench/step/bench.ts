/**
 * Times a training step, the evaluation of all ranks and the peak memory of
 * this engine and of PyTorch + transformers + PEFT, in turn, on the same
 * shapes.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     deno task bench step --json
 */
import { join } from "node:path";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { modulesToSave, PEFT_PREFIX } from "../../../lib/peft/names.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { headTensors } from "../../../lib/engine/models/outline.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import {
  benchmark,
  peerPython,
  PRECISION,
  type Precision,
  precisionsOf,
} from "../options.ts";
import { Peer, type PeerWork, type Timed } from "../peer/peer.ts";
import { writeRandomModel } from "./random_model.ts";
import { modelWithHead } from "./training.ts";
import { nameOf, RANKS, type Shape, shapes } from "./work.ts";

/** One line of the result: seconds, or bytes for peak memory. */
interface Row {
  readonly work: string;
  readonly precision: Precision;
  readonly ours: number;
  readonly peer: number;
  /** Ours / peer. */
  readonly ratio: number;
}

/**
 * Minimum number of uncounted calls at the start, which trace, compile and fill
 * caches.
 */
const WARM_UP = 3;
/** Seconds after which they end, whatever their number. */
const WARM_UP_LIMIT = 30;
/**
 * Minimum seconds of these calls, since the compilers of both languages need
 * some time.
 */
const WARM_UP_SECONDS = 2;
/** Minimum seconds of a turn; a turn has several steps if they are short. */
const TURN_SECONDS = 0.1;
/**
 * Milliseconds of pause before a turn, since threads of the other side keep
 * spinning for a while.
 */
const PAUSE = 100;

/** `deno task bench step`. */
export const command = benchmark`
  step

  Time a training step, the evaluation of 8 ranks and peak memory against PyTorch with PEFT, in turn. Prints seconds (or bytes) of this engine and of the peer, medians, and their ratio. PEFT_PYTHON names the peer's Python. Run it on an idle machine.

  Options:
  --only SHAPE{${
  shapes.map(nameOf).join()
}}  Model, batch and length to time (default: all)
  ${PRECISION}
  --steps N  Turns that each side takes (default 8)
  --threads N  Threads of each side (default 2)
  ${JSON_LINES}

  Examples:
  --json  Time everything, one row per line
  --only "minilm 32x64" --precision bf16  One model in bfloat16
`(bench);

async function bench(args: Arguments): Promise<number> {
  const python = peerPython();
  const precisions = precisionsOf(args);
  const turns = {
    steps: args.integer("steps", 1) ?? 8,
    threads: args.integer("threads", 1) ?? 2,
  };
  const only = args.value("only");
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const report = (row: Row) =>
    console.log(args.has("json") ? JSON.stringify(row) : lineOf(row));
  for (const shape of shapes) {
    if (only !== undefined && nameOf(shape) !== only) continue;
    const folder = Deno.makeTempDirSync({ prefix: "bench-" });
    try {
      writeRandomModel(folder, shape.model);
      for (const precision of precisions) {
        await using peer = Peer.start(python);
        await using ours = Peer.run(Deno.execPath(), [
          ...["run", "-A", "--quiet", join(import.meta.dirname!, "ours.ts")],
          ...[folder, choice.library!],
        ]);
        await time(shape, precision, { ours, peer }, turns, report);
      }
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  }
  return EXIT.success;
}

/** Takes turns, one step or pass of each side at a time. */
async function time(
  shape: Shape,
  precision: Precision,
  sides: { readonly ours: Peer; readonly peer: Peer },
  { steps, threads }: { readonly steps: number; readonly threads: number },
  report: (row: Row) => void,
): Promise<void> {
  const { head = "sequence" } = shape;
  const model = modelWithHead(JSON.stringify(shape.model.config), head);
  const labels =
    { sequence: 2, tokens: 9, language: 1, embedding: model.hidden }[
      head
    ];
  const trained = headTensors(model, labels).map(({ name }) => name);
  const work: PeerWork = {
    config: shape.model.config,
    target_modules: model.architecture.targetModules,
    modules_to_save: modulesToSave(trained.map((name) => PEFT_PREFIX + name)),
    precision,
    batch: shape.batch,
    length: shape.length,
    rank: 8,
    alpha: 16,
    labels,
    head,
    threads,
  };
  const row = (name: string, ours: number, peer: number) =>
    report({ work: name, precision, ours, peer, ratio: ours / peer });
  const name = nameOf(shape);
  for (const side of [sides.ours, sides.peer]) await side.prepare(work);

  const inTurn = async (
    take: (side: Peer, count: number) => Promise<Timed>,
  ) => {
    const count = await warmUp(sides, take);
    const times = { ours: [] as number[], peer: [] as number[] };
    const peak = { ours: 0, peer: 0 };
    for (let i = 0; i < steps; i++) {
      for (const key of ["ours", "peer"] as const) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        const { seconds, peak_bytes } = await take(sides[key], count);
        times[key].push(...seconds);
        peak[key] = peak_bytes;
      }
    }
    return { times, peak };
  };
  const { times, peak } = await inTurn((side, count) => side.step(count));
  row(name, median(times.ours), median(times.peer));
  row(`${name}, peak memory`, peak.ours, peak.peer);

  if (!shape.evaluated) return;
  const passes = await inTurn((side, count) => side.evaluate(RANKS, count));
  row(
    `${name}, 8 ranks evaluated`,
    median(passes.times.ours),
    median(passes.times.peer),
  );
}

/** @returns Number of steps or passes per turn, of the slower side */
async function warmUp(
  sides: { readonly ours: Peer; readonly peer: Peer },
  take: (side: Peer, count: number) => Promise<Timed>,
): Promise<number> {
  let slowest = 0;
  for (const side of [sides.ours, sides.peer]) {
    const seconds: number[] = [];
    while (
      sum(seconds) < WARM_UP_SECONDS ||
      seconds.length < WARM_UP && sum(seconds) < WARM_UP_LIMIT
    ) {
      seconds.push(...(await take(side, 1)).seconds);
    }
    slowest = Math.max(slowest, median(seconds));
  }
  return Math.ceil(TURN_SECONDS / slowest);
}

function sum(seconds: readonly number[]): number {
  return seconds.reduce((sum, value) => sum + value, 0);
}

function lineOf({ work, precision, ours, peer, ratio }: Row): string {
  const figure = (value: number) =>
    value < 1e4 ? value.toPrecision(3) : `${Math.round(value / 2 ** 20)} MiB`;
  return [
    work.padEnd(40),
    precision.padEnd(5),
    figure(ours).padStart(9),
    figure(peer).padStart(9),
    ratio.toFixed(2).padStart(6),
  ].join(" ");
}
