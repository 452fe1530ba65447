/**
 * Our side of the benchmark: answers the requests of `../peer/step.py`, one
 * JSON line each. Arguments: folder of the model, folder of the library.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { startEngine } from "../../../lib/engine/start.ts";
import { Work } from "./training.ts";

const [folder, library] = Deno.args as [string, string];

let work: Work | undefined;
for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...request } = JSON.parse(line);
  let reply: unknown;
  if (op === "prepare") {
    await startEngine(
      { engine: "tensorflow", device: "cpu", library, bfloat16: true },
      { cpus: request.threads, precision: request.precision },
    );
    work = new Work(folder, request);
    reply = { trained: work.trained };
  } else if (work === undefined) {
    throw new Error(`Operation "${op}" requires "prepare" first`);
  } else if (op === "step") reply = work.step(request.count);
  else if (op === "evaluate") {
    reply = await work.evaluate(request.ranks, request.count);
  } else throw new Error(`Unknown operation "${op}"`);
  console.log(JSON.stringify(reply));
}
