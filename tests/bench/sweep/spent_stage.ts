/**
 * A process for `parts.ts`: runs a training or an evaluation as its stage does,
 * and prints the seconds of each part as JSON. Argument: a {@linkcode Work} as
 * JSON.
 */
import { startEngine } from "../../../lib/engine/start.ts";
import {
  TensorflowBinding,
  type TracedFunction,
} from "../../../lib/engine/tensorflow/binding.ts";
import { keepCompiled } from "../../../lib/engine/tensorflow/compiled.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import type { Task } from "../../../lib/pipeline/task.ts";
import type { Measured, Work } from "./parts.ts";
// As in the bundle of a stage, which has all that it needs.
import "../../../lib/stages/evaluate.ts";
import "../../../lib/stages/train_adapter.ts";

const seconds = () => performance.now() / 1000;

/** Calls of one function, all of which compute the same shapes. */
interface Calls {
  /** Length of its sequences. */
  readonly length: string;
  /** Tokens of a call with padding; 0 for functions that take none. */
  readonly padded: number;
  readonly seconds: number[];
}

/**
 * Notes when the library traces and computes. Its calls return when all is
 * computed.
 */
class Clock {
  tracing = 0;
  readonly #calls = new Map<string, Calls>();

  constructor() {
    const { beginTrace, endTrace, call } = TensorflowBinding.prototype;
    const trace = (spent: number) => this.tracing += spent;
    const add = (...spent: Parameters<Clock["add"]>) => this.add(...spent);
    let began = 0;
    TensorflowBinding.prototype.beginTrace = function (ids) {
      if (!this.tracing) began = seconds();
      return beginTrace.call(this, ids);
    };
    TensorflowBinding.prototype.endTrace = function (...args) {
      const made = endTrace.apply(this, args);
      if (!this.tracing) trace(seconds() - began);
      return made;
    };
    TensorflowBinding.prototype.call = function (traced, ids) {
      if (this.tracing) return call.call(this, traced, ids);
      const before = seconds();
      const result = call.call(this, traced, ids);
      add(traced, this.signature(ids), seconds() - before);
      return result;
    };
  }

  add({ name }: TracedFunction, signature: string, spent: number): void {
    // Of the matrices of int32, type 3 of the library, the largest are the
    // tokens.
    const [padded, length] = [...signature.matchAll(/\b3\[(\d+),(\d+)\]/g)]
      .map(([, batch, seq]) => [Number(batch) * Number(seq), seq!] as const)
      .reduce((a, b) => b[0] > a[0] ? b : a, [0, "none"] as const);
    const calls = this.#calls.get(name) ?? { length, padded, seconds: [] };
    calls.seconds.push(spent);
    this.#calls.set(name, calls);
  }

  /**
   * Seconds of all calls, without what the first ones took longer than the
   * others; and that, by length.
   */
  calls() {
    const loading: Record<string, number> = {};
    let computing = 0;
    let padded = 0;
    const all = [...this.#calls.values()];
    const steady = ({ seconds: [, ...others] }: Calls) =>
      others.length > 0 ? median(others) : undefined;
    const sum = (of: (calls: Calls) => number) =>
      all.filter(({ seconds }) => seconds.length > 1)
        .reduce((sum, calls) => sum + of(calls), 0);
    const secondsPerToken = sum((calls) => steady(calls)!) /
      sum(({ padded }) => padded);
    for (const calls of all) {
      const { length, padded: each, seconds } = calls;
      const [first, ...others] = seconds as [number, ...number[]];
      // A function that is called once is taken to be as fast as the others.
      const usual = steady(calls) ?? each * secondsPerToken;
      loading[length] = (loading[length] ?? 0) + Math.max(0, first - usual);
      computing += others.reduce((sum, it) => sum + it, Math.min(first, usual));
      padded += each * seconds.length;
    }
    return { loading, computing, padded };
  }
}

const { task, params, inputs, output, checkpoint, ...engine } = JSON.parse(
  Deno.args[0]!,
) as Work;
const clock = new Clock();
const start = seconds();
const settings = {
  engine: "tensorflow",
  device: "cpu",
  bfloat16: true,
  ...engine,
} as const;
await startEngine(settings, { cpus: 1, precision: params.precision });
const library = seconds() - start;
const { default: { run, params: schema } }: { readonly default: Task } =
  await import(new URL(`../../../tasks/${task}.ts`, import.meta.url).href);
const stage: Parameters<Task["run"]>[0] = {
  params: schema.parse(params),
  inputs: Object.fromEntries(
    Object.entries(inputs).map(([name, path]) => [
      name,
      [{ stage: name, matrix: {}, path, visiblePath: path }],
    ]),
  ),
  output,
  checkpoint,
  cpus: 1,
  runtimes: { engine: settings },
  signal: new AbortController().signal,
  progress: () => {},
  log: () => {},
  saved: () => {},
  metric: () => {},
};
await run(stage);
const { loading, computing, padded } = clock.calls();
keepCompiled({ before: engine.compiledBefore, now: engine.compiledNow });
const measured: Measured = {
  pid: Deno.pid,
  whole: seconds(),
  start,
  library,
  tracing: clock.tracing,
  loading,
  computing,
  padded,
};
console.log(JSON.stringify(measured));
