import { InstallError } from "../../pypi/install_error.ts";
import { type EngineChoice, type EngineName, ENGINES } from "./choice.ts";
import { chooseTensorflow } from "./choose_tensorflow.ts";
import { chooseWasm, chooseWebgpu } from "./choose_tfjs.ts";
import { type Host, thisHost } from "./host.ts";

/**
 * Chooses the engine. `auto` takes the first that can run and says why none before it.
 *
 * It runs before every pipeline, so `tensorflow` is chosen by a look at a few files.
 *
 * @throws {InstallError} If the engine asked for cannot run here, with the remedy.
 */
export async function selectEngine(
  request: EngineName | "auto",
  host: Host = thisHost,
): Promise<EngineChoice> {
  return request === "auto"
    ? await chooseFirst(ENGINES, host, [])
    : await choose(request, host, true);
}

async function choose(
  engine: EngineName,
  host: Host,
  asked: boolean,
): Promise<EngineChoice> {
  switch (engine) {
    case "tensorflow":
      return chooseTensorflow(host);
    case "webgpu":
      return await chooseWebgpu(host, asked);
    case "wasm":
      return chooseWasm();
  }
}

/** The first engine that can run; `against` says why not those before. */
async function chooseFirst(
  engines: readonly EngineName[],
  host: Host,
  against: readonly string[],
): Promise<EngineChoice> {
  const [engine, ...others] = engines;
  if (engine === undefined) {
    throw new Error(`No engine can run here: ${against.join("; ")}`);
  }
  const next = (error: unknown) =>
    chooseFirst(others, host, [...against, refusal(engine, error)]);
  let choice: EngineChoice;
  try {
    choice = await choose(engine, host, false);
  } catch (error) {
    return await next(error);
  }
  const explained = {
    ...choice,
    reason: [choice.reason, ...against].join("; "),
  };
  return {
    ...explained,
    prepare: async (options) => {
      try {
        await choice.prepare(options);
      } catch (error) {
        return await (await next(error)).prepare(options);
      }
      return explained;
    },
  };
}

/** Why an engine is passed over. An error without a remedy, or an interruption, ends the search. */
function refusal(engine: EngineName, error: unknown): string {
  if (!(error instanceof InstallError) || error.code === "interrupted") {
    throw error;
  }
  const { code, problem, remedy } = error;
  // Where it could run, the user may want to mend what kept it from running.
  return `not ${engine}: ${problem}${
    code === "unsupported" ? "" : `. ${remedy}`
  }`;
}
