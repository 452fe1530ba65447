import { libraryBinding } from "../../lib/engine/backend.ts";
import { ENGINES } from "../../lib/engine/install/choice.ts";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import { startEngine } from "../../lib/engine/start.ts";

const requested = Deno.env.get("DYLORA_TEST_ENGINE");

/** Engine under test: DYLORA_TEST_ENGINE, by default tensorflow. */
export const engineName = ENGINES.find((it) => it === requested) ??
  "tensorflow";

const { library, prepare } = await selectEngine(engineName);
await prepare();
await startEngine(
  {
    engine: engineName,
    device: "cpu",
    bfloat16: false,
    ...(library !== undefined && { library }),
  },
  { cpus: 2, precision: "f32" },
);

/** The library's binding, started once for all tests of a file; undefined if another engine is under test. */
export const tensorflow = libraryBinding();

/** Options of tests of traces: other engines call a traced function as it is. */
export const traced = { ignore: tensorflow === undefined };

/** Options of tests that train for epochs: on WebGPU in software each takes a minute. */
export const training = { ignore: engineName === "webgpu" };
