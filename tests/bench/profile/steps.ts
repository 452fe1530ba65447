/**
 * A process for `samples.ts`: takes training steps, or evaluates, until it is
 * killed, after a line that says that all is traced and compiled. Arguments:
 * the model's folder, the work as JSON, the library's folder, and `step` or
 * `evaluation`.
 */
import { startEngine } from "../../../lib/engine/start.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import type { PeerWork } from "../peer/peer.ts";
import { type Phase, Work } from "../step/training.ts";

const [folder, text, library, phase] = Deno.args as [
  string,
  string,
  string,
  Phase,
];
const work = JSON.parse(text) as PeerWork;
await startEngine(
  { engine: "tensorflow", device: "cpu", library, bfloat16: true },
  { cpus: work.threads, precision: work.precision },
);
const training = new Work(folder, work);
await training.take(phase, 3);
console.log(median(await training.take(phase, 9)));
while (true) await training.take(phase, 1);
