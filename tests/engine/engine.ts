import { useTensorflow } from "../../lib/engine/backend.ts";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import {
  startTensorflow,
  type Tensorflow,
} from "../../lib/engine/tensorflow/start.ts";

/** Engine under test: DYLORA_TEST_ENGINE, by default tensorflow. */
export const engineName = Deno.env.get("DYLORA_TEST_ENGINE") ?? "tensorflow";

/** The library, started once for all tests of a file; undefined if another engine is under test. */
export const tensorflow = await start();

/** Options of tests of traces: other engines call a traced function as it is. */
export const traced = { ignore: tensorflow === undefined };

/** Options of tests that train for epochs: on WebGPU in software each takes a minute. */
export const training = { ignore: engineName === "webgpu" };

async function start(): Promise<Tensorflow | undefined> {
  if (engineName === "wasm") {
    const { startWasm } = await import("../../lib/engine/backends/wasm.ts");
    return void await startWasm();
  }
  if (engineName === "webgpu") {
    const { startWebgpu } = await import("../../lib/engine/backends/webgpu.ts");
    return void await startWebgpu();
  }
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const started = await startTensorflow(choice.library!, {
    intraOpThreads: 1,
    interOpThreads: 2,
  });
  useTensorflow(started);
  return started;
}
