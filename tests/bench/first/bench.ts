/**
 * Says what the first step of a training costs, in a process that compiles its
 * functions and in one that loads what another has compiled:
 *
 *     deno task bench first --only "minilm 32x64"
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Arguments,
  type Command,
  EXIT,
} from "../../../lib/cli/arguments/arguments.ts";
import { HELP, JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import { PRECISION, precisionsOf } from "../options.ts";
import { writeRandomModel } from "../step/random_model.ts";
import { nameOf, shapes } from "../step/work.ts";

const PROCESS = fileURLToPath(new URL("first_step.ts", import.meta.url));

/** `deno task bench first`. */
export const command: Command = {
  name: "bench first",
  usage: "",
  description:
    "Time the first step of a training on one thread. Prints the median seconds of each part, in processes that compile and in processes that load what was compiled. Run it on an idle machine.",
  options: [
    {
      name: "only",
      value: "SHAPE",
      choices: shapes.map(nameOf),
      description: 'Model, batch and length (default: "minilm 32x64")',
    },
    PRECISION,
    {
      name: "runs",
      value: "N",
      description: "Processes of each kind (default: 3)",
    },
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["", "MiniLM in both precisions"],
    ['--only "tiny 16x32" --precision f32 --runs 1', "A quick look"],
  ],
  positionals: { min: 0, max: 0 },
  run: first,
};

async function first(given: Arguments): Promise<number> {
  const only = given.value("only") ?? "minilm 32x64";
  const { model, batch, length } = shapes.find((it) => nameOf(it) === only)!;
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const folder = Deno.makeTempDirSync({ prefix: "bench-" });
  try {
    writeRandomModel(folder, model);
    for (const precision of precisionsOf(given)) {
      const work = {
        ...{ batch, length, precision, labels: 2, rank: 8, alpha: 16 },
        ...{ threads: 1, config: model.config },
        ...{ target_modules: [], modules_to_save: [] },
      };
      const found = { compiled: new Parts(), loaded: new Parts() };
      for (let run = 0; run < (given.integer("runs", 1) ?? 3); run++) {
        const kept = join(folder, `${precision}-${run}`, "engine");
        for (const parts of Object.values(found)) {
          const own = Deno.makeTempDirSync({ dir: folder });
          parts.add(
            await timesOf(
              ...[folder, JSON.stringify(work), choice.library!, kept, own],
            ),
          );
        }
      }
      for (const [functions, parts] of Object.entries(found)) {
        for (const [part, seconds] of parts.medians()) {
          console.log(
            given.has("json")
              ? JSON.stringify({
                work: only,
                precision,
                functions,
                part,
                seconds,
              })
              : `${precision} ${functions.padEnd(9)} ${part.padEnd(28)} ${
                seconds.toFixed(2)
              } s`,
          );
        }
      }
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return EXIT.success;
}

/** Seconds of each part, of several runs. */
class Parts {
  readonly #seconds = new Map<string, number[]>();

  add(parts: Readonly<Record<string, number>>): void {
    for (const [part, seconds] of Object.entries(parts)) {
      this.#seconds.set(part, [...this.#seconds.get(part) ?? [], seconds]);
    }
  }

  medians(): [string, number][] {
    return [...this.#seconds].map(([part, of]) => [part, median(of)]);
  }
}

/** Runs the process; returns the seconds of each part. */
async function timesOf(
  ...args: readonly string[]
): Promise<Record<string, number>> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", PROCESS, ...args],
    stdin: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The process of a first step has failed");
  return JSON.parse(new TextDecoder().decode(stdout));
}
