/**
 * A process for `samples.ts`: takes training steps until it is killed, after a
 * line that says that all is traced and compiled. Arguments: the model's
 * folder, the work as JSON, and the library's folder.
 */
import { startEngine } from "../../../lib/engine/start.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import type { PeerWork } from "../peer/peer.ts";
import { Work } from "../step/training.ts";

const [folder, text, library] = Deno.args as [string, string, string];
const work = JSON.parse(text) as PeerWork;
await startEngine(
  { engine: "tensorflow", device: "cpu", library, bfloat16: true },
  { cpus: work.threads, precision: work.precision },
);
const training = new Work(folder, work);
training.step(3);
console.log(median(training.step(9).seconds));
while (true) training.step(1);
