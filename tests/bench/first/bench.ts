/**
 * Says what the first step of a training costs, in a process that compiles its
 * functions and in one that loads what another has compiled:
 *
 *     deno task bench first --only "minilm 32x64"
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import { benchmark, PRECISION, precisionsOf } from "../options.ts";
import type { PeerWork } from "../peer/peer.ts";
import { writeRandomModel } from "../step/random_model.ts";
import { nameOf, shapes } from "../step/work.ts";

const PROCESS = fileURLToPath(new URL("first_step.ts", import.meta.url));

/** `deno task bench first`. */
export const command = benchmark`
  first

  Time the first step of a training on one thread. Prints the median seconds of each part, and the median peak memory up to its end, in processes that compile and in processes that load what was compiled. Run it on an idle machine.

  Options:
  --only SHAPE{${
  shapes.map(nameOf).join()
}}  Model, batch and length (default: "minilm 32x64")
  ${PRECISION}
  --runs N  Processes of each kind (default: 3)
  ${JSON_LINES}

  Examples:
  MiniLM in both precisions
  --only "tiny 16x32" --precision f32 --runs 1  A quick look
`(first);

async function first(args: Arguments): Promise<number> {
  const only = args.value("only") ?? "minilm 32x64";
  const shape = shapes.find((it) => nameOf(it) === only)!;
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const folder = Deno.makeTempDirSync({ prefix: "bench-" });
  try {
    writeRandomModel(folder, shape.model);
    for (const precision of precisionsOf(args)) {
      const work: PeerWork = {
        config: shape.model.config,
        target_modules: [],
        modules_to_save: [],
        precision,
        batch: shape.batch,
        length: shape.length,
        rank: 8,
        alpha: 16,
        labels: 2,
        head: shape.head ?? "sequence",
        threads: 1,
      };
      const found = { compiled: new Parts(), loaded: new Parts() };
      for (let run = 0; run < (args.integer("runs", 1) ?? 3); run++) {
        const kept = join(folder, `${precision}-${run}`, "engine");
        for (const parts of Object.values(found)) {
          const own = Deno.makeTempDirSync({ dir: folder });
          parts.add(
            await partsOf(
              ...[folder, JSON.stringify(work), choice.library!, kept, own],
            ),
          );
        }
      }
      for (const [functions, parts] of Object.entries(found)) {
        for (const [part, { seconds, bytes }] of parts.medians()) {
          console.log(
            args.has("json")
              ? JSON.stringify({
                ...{ work: only, precision, functions, part },
                ...{ seconds, bytes },
              })
              : [
                ...[precision, functions.padEnd(9), part.padEnd(28)],
                `${seconds.toFixed(2)} s`,
                bytes !== undefined && `${Math.round(bytes / 2 ** 20)} MiB`,
              ].filter(Boolean).join(" "),
          );
        }
      }
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return EXIT.success;
}

/** What a part takes, and the peak memory of the process up to its end. */
interface Part {
  readonly seconds: number;
  readonly bytes?: number | undefined;
}

/** The parts of several runs. */
class Parts {
  readonly #parts = new Map<string, Part[]>();

  add(parts: Readonly<Record<string, Part>>): void {
    for (const [name, part] of Object.entries(parts)) {
      this.#parts.set(name, [...this.#parts.get(name) ?? [], part]);
    }
  }

  medians(): [string, Part][] {
    return [...this.#parts].map(([name, runs]) => {
      const bytes = runs.flatMap((run) => run.bytes ?? []);
      return [name, {
        seconds: median(runs.map(({ seconds }) => seconds)),
        bytes: bytes.length === 0 ? undefined : median(bytes),
      }];
    });
  }
}

/** Runs the process; returns its parts. */
async function partsOf(
  ...args: readonly string[]
): Promise<Record<string, Part>> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", PROCESS, ...args],
    stdin: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The process of a first step has failed");
  return JSON.parse(new TextDecoder().decode(stdout));
}
