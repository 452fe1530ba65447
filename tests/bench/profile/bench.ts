/**
 * Says where a training step of this engine, or an evaluation of 8 ranks,
 * spends its time, by part of the engine and by product, on one thread:
 *
 *     deno task bench profile --only "minilm 32x64"
 *     deno task bench profile --only "minilm 32x64" --samples
 *     deno task bench profile --only "minilm 32x64" --evaluate
 *     deno task bench profile --only "minilm 32x64" --loops
 */
import * as tf from "@tensorflow/tfjs-core";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { startEngine } from "../../../lib/engine/start.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import {
  benchmark,
  PRECISION,
  type Precision,
  precisionsOf,
} from "../options.ts";
import type { PeerWork } from "../peer/peer.ts";
import { writeRandomModel } from "../step/random_model.ts";
import { type Phase, Work } from "../step/training.ts";
import { nameOf, shapes } from "../step/work.ts";
import { timeOperations, type Timing } from "./operations.ts";
import { sampleSteps } from "./samples.ts";

/** Steps, or evaluations, that are profiled. */
const STEPS = 5;

/** A row: milliseconds of a step, and of a product its speed. */
interface Row {
  /** Part of the engine, `product`, or what lies between the operations. */
  readonly part: string;
  readonly name?: string;
  readonly calls?: number;
  readonly milliseconds: number;
  /** Share of the step. */
  readonly share: number;
  readonly gflops?: number;
  /** Speed of the same product alone, repeated. */
  readonly best?: number;
  /**
   * Of a fused loop: values of its largest tensor, nanoseconds of its fastest
   * call for each of them, and megabytes that it reads and writes.
   */
  readonly elements?: number;
  readonly nanoseconds?: number;
  readonly megabytes?: number;
}

/** `deno task bench profile`. */
export const command = benchmark`
  profile

  Profile a training step, or the evaluation of a batch at 8 ranks, on one thread. Prints the milliseconds of each part of the engine, of each product with its speed beside that of the product alone, and of the first step. Run it on an idle machine.

  Options:
  --only SHAPE{${
  shapes.map(nameOf).join()
}}  Model, batch and length (default: "minilm 32x64")
  ${PRECISION}
  --evaluate  Profile the evaluation of 8 ranks instead of a step
  --loops  List every fused loop of the step instead, with its values, the nanoseconds for each and the bytes that it reads and writes
  --samples  Sample the step with perf instead, as one graph, and print the share of each kind of work
  ${JSON_LINES}

  Examples:
  MiniLM in both precisions
  --only "roberta-base 16x64" --precision f32  RoBERTa in float32
  --only "tiny 16x32" --samples  Where dispatch counts
  --evaluate --precision bf16  An evaluation in bfloat16
`(profile);

async function profile(args: Arguments): Promise<number> {
  const only = args.value("only") ?? "minilm 32x64";
  const shape = shapes.find((it) => nameOf(it) === only)!;
  const phase = args.has("evaluate") ? "evaluation" : "step";
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const folder = Deno.makeTempDirSync({ prefix: "bench-" });
  try {
    writeRandomModel(folder, shape.model);
    const precisions = precisionsOf(args);
    const workIn = (precision: Precision): PeerWork => ({
      ...{ batch: shape.batch, length: shape.length, precision },
      head: shape.head ?? "sequence",
      ...{ labels: 2, rank: 8, alpha: 16, threads: 1 },
      ...{
        config: shape.model.config,
        target_modules: [],
        modules_to_save: [],
      },
    });
    const print = (precision: Precision, row: Row) =>
      console.log(
        args.has("json")
          ? JSON.stringify({ work: only, precision, ...row })
          : `${precision} ${lineOf(row)}`,
      );
    if (args.has("samples")) {
      for (const precision of precisions) {
        const { seconds, shares } = await sampleSteps(
          folder,
          workIn(precision),
          choice.library!,
          phase,
        );
        const step = seconds * 1000;
        print(precision, { part: phase, ...of(step, step) });
        for (const [part, share] of shares) {
          print(precision, { part, ...of(share * step, step) });
        }
      }
      return EXIT.success;
    }
    const [first] = precisions;
    await startEngine(
      {
        engine: "tensorflow",
        device: "cpu",
        library: choice.library!,
        bfloat16: true,
      },
      { cpus: 1, precision: first! },
    );
    const timings = timeOperations();
    for (const precision of precisions) {
      (await import("../../../lib/engine/backend.ts")).libraryBinding()!
        .precision = precision;
      const rows = args.has("loops")
        ? loopsOf(folder, workIn(precision), phase, timings)
        : rowsOf(folder, workIn(precision), phase, timings);
      for await (const row of rows) print(precision, row);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return EXIT.success;
}

async function* rowsOf(
  folder: string,
  work: ConstructorParameters<typeof Work>[1],
  phase: Phase,
  timings: Map<string, Timing>,
): AsyncGenerator<Row> {
  const graph = new Work(folder, work);
  const [first] = await graph.take(phase, 1);
  await graph.take(phase, 2);
  const step = median(await graph.take(phase, STEPS)) * 1000;
  yield { part: `first ${phase}`, ...of(first! * 1000 - step, step) };
  yield { part: phase, ...of(step, step) };

  const eager = new Work(folder, work, true);
  await eager.take(phase, 2);
  timings.clear();
  const whole = median(await eager.take(phase, STEPS)) * 1000;
  const found = [...timings.values()];
  const parts = Map.groupBy(found, ({ part }) => part);
  const sum = (of: readonly Timing[]) =>
    of.reduce((sum, { seconds }) => sum + seconds, 0) / STEPS * 1000;
  const rows = [...parts].map(([part, of]) => ({ part, milliseconds: sum(of) }))
    .sort((a, b) => b.milliseconds - a.milliseconds);
  for (const { part, milliseconds } of rows) {
    yield { part, ...of(milliseconds, step) };
  }
  const between = whole - sum(found);
  yield { part: "between the operations, one by one", ...of(between, step) };
  yield {
    part: "saved by the graph",
    ...of(whole - step, step),
  };
  const products = (parts.get("product") ?? [])
    .sort((a, b) => b.seconds - a.seconds).slice(0, 12);
  for (const { name, calls, seconds, flops } of products) {
    yield {
      part: "product",
      name,
      calls: calls / STEPS,
      ...of(seconds / STEPS * 1000, step),
      gflops: flops * calls / seconds / 1e9,
      best: bestOf(name, flops),
    };
  }
}

/** The fused loops of a step, those that take longest first. */
async function* loopsOf(
  folder: string,
  work: ConstructorParameters<typeof Work>[1],
  phase: Phase,
  timings: Map<string, Timing>,
): AsyncGenerator<Row> {
  const eager = new Work(folder, work, true);
  await eager.take(phase, 2);
  timings.clear();
  await eager.take(phase, STEPS);
  const loops = [...timings.values()].flatMap((it) => {
    const { part, name, calls, fastest, loop } = it;
    if (loop === undefined) return [];
    const milliseconds = fastest * calls / STEPS * 1000;
    return {
      ...{ part, name, calls: calls / STEPS, fastest, milliseconds },
      ...loop,
    };
  }).sort((a, b) => b.milliseconds - a.milliseconds);
  const all = loops.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  yield { part: "fused loops", ...of(all, all) };
  for (
    const { part, name, calls, fastest, milliseconds, elements, bytes } of loops
  ) {
    yield {
      ...{ part: "loop", name: `${part} ${name}`, calls, elements },
      ...of(milliseconds, all),
      nanoseconds: fastest / elements * 1e9,
      megabytes: bytes / 1e6,
    };
  }
}

function of(milliseconds: number, step: number) {
  return { milliseconds, share: milliseconds / step };
}

/**
 * GFLOPS of a product alone, the fastest of some repetitions; NaN for other
 * operations than plain products.
 */
function bestOf(name: string, flops: number): number {
  const [left, right] = [...name.matchAll(/\[([\d,]+)\]/g)]
    .map(([, shape]) => shape!.split(",").map(Number));
  if (left?.length !== 2 || right?.length !== 2) return NaN;
  const transposes = [false, true].flatMap((a) =>
    [false, true].map((b) => [a, b] as const)
  );
  const [a, b] = [left, right].map((shape) =>
    tf.randomUniform(shape as [number, number], -1, 1, "float32", 7)
  ) as [tf.Tensor2D, tf.Tensor2D];
  // The name does not tell what is transposed; shapes that fit compute as much.
  const found = transposes.find(([ta, tb]) =>
    left[ta ? 0 : 1] === right[tb ? 1 : 0] &&
    2 * left[0]! * left[1]! * right[tb ? 0 : 1]! === flops
  );
  let best = NaN;
  if (found !== undefined) {
    for (let i = 0; i < 10; i++) {
      const begin = performance.now();
      tf.matMul(a, b, ...found).dispose();
      const speed = flops / (performance.now() - begin) / 1e6;
      if (!(best > speed)) best = speed;
    }
  }
  tf.dispose([a, b]);
  return best;
}

function lineOf(
  { part, name, calls, milliseconds, share, gflops, best, ...loop }: Row,
): string {
  const { elements, nanoseconds, megabytes } = loop;
  const speed = gflops !== undefined
    ? [
      `${calls} x`,
      `${gflops.toFixed(0)} GFLOPS`,
      ...(Number.isNaN(best) ? [] : [`of ${best!.toFixed(0)}`]),
    ].join(" ")
    : elements === undefined
    ? ""
    : `${calls} x ${elements} values, ${nanoseconds!.toFixed(2)} ns each, ${
      megabytes!.toFixed(1)
    } MB`;
  return [
    (name ?? part).padEnd(44),
    `${milliseconds.toFixed(2)} ms`.padStart(12),
    `${(share * 100).toFixed(1)} %`.padStart(8),
    speed,
  ].join(" ").trimEnd();
}
