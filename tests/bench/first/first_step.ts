/**
 * A process for `bench.ts`: takes two training steps and prints of each part
 * the seconds, and the peak memory up to its end. Arguments: the model's
 * folder, the work as JSON, the library's folder, and the folders of compiled
 * functions.
 */
import { startEngine } from "../../../lib/engine/start.ts";
import { TensorflowBinding } from "../../../lib/engine/tensorflow/binding.ts";
import { keepCompiled } from "../../../lib/engine/tensorflow/compiled.ts";
import type { PeerWork } from "../peer/peer.ts";
import { peakBytes, Work } from "../step/training.ts";

const [folder, text, library, kept, own] = Deno.args as [
  string,
  string,
  string,
  string,
  string,
];
const work = JSON.parse(text) as PeerWork;

/** Seconds within the traced function of a step, which contains all others. */
let inside = 0;
const call = TensorflowBinding.prototype.call;
TensorflowBinding.prototype.call = function (traced, inputs) {
  if (this.tracing) return call.call(this, traced, inputs);
  const begin = performance.now();
  const result = call.call(this, traced, inputs);
  inside += (performance.now() - begin) / 1000;
  return result;
};

const seconds = (since: number) => (performance.now() - since) / 1000;
// Since Deno's runtime was started.
const modules = performance.now() / 1000;
const bytes = { modules: peakBytes(), start: 0, weights: 0, first: 0 };
let since = performance.now();
await startEngine(
  {
    engine: "tensorflow",
    device: "cpu",
    library,
    bfloat16: true,
    compiledBefore: kept,
    compiledNow: own,
  },
  { cpus: work.threads, precision: work.precision },
);
const start = seconds(since);
bytes.start = peakBytes();
since = performance.now();
const training = new Work(folder, work);
const weights = seconds(since);
bytes.weights = peakBytes();
const first = training.step(1).seconds[0]!;
const firstCall = inside;
bytes.first = peakBytes();
const step = training.step(1).seconds[0]!;
keepCompiled({ before: kept, now: own });
console.log(JSON.stringify({
  "modules": { seconds: modules, bytes: bytes.modules },
  "start of the library": { seconds: start, bytes: bytes.start },
  "weights": { seconds: weights, bytes: bytes.weights },
  "tracing": { seconds: first - firstCall },
  "first call, without a step": {
    seconds: firstCall - step,
    bytes: bytes.first,
  },
  "a step": { seconds: step, bytes: peakBytes() },
}));
