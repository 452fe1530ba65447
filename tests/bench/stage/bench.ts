/**
 * Shows what a stage costs that does almost nothing, from its start to its
 * commit, part by part, in processor time, which a loaded machine changes
 * little.
 *
 *     deno task bench stage
 *     deno task bench stage --beside ../another-checkout
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import { checkout } from "../pipeline/ours.ts";
import { type Part, processParts, schedulerParts } from "./parts.ts";
import { spend, type Spent } from "./spent.ts";
import { benchmark } from "../options.ts";

/** One line of the result: medians of milliseconds. */
interface Row extends Spent {
  readonly part: string;
}

/** `deno task bench stage`. */
export const command = benchmark`
  stage

  Show what a stage costs that does almost nothing, part by part. Prints median milliseconds of processor and wall-clock time. Parts take turns, and processor time hardly depends on what else the machine does.

  Options:
  --rounds N  Turns that each part takes (default 15)
  --stages N  Stages of the pipelines that are run as a whole (default 24)
  --beside DIR  Another checkout of this project, whose pipelines take turns with those of this one; the parts are left out
  ${JSON_LINES}

  Examples:
  The parts, and whole pipelines
  --beside ../another-checkout --rounds 10  Compare whole pipelines
`(bench);

async function bench(args: Arguments): Promise<number> {
  const rounds = args.integer("rounds", 1) ?? 15;
  const stages = args.integer("stages", 1) ?? 24;
  const beside = args.value("beside");
  const report = (row: Row) =>
    console.log(args.has("json") ? JSON.stringify(row) : lineOf(row));
  if (beside === undefined) {
    for (const parts of [processParts, schedulerParts]) {
      await using made = await parts();
      for (const row of await inTurn(made.parts, rounds)) report(row);
    }
  }
  const roots = [
    fileURLToPath(new URL("../../..", import.meta.url)),
    ...(beside === undefined ? [] : [resolve(beside)]),
  ];
  for (const row of await wholePipelines(roots, stages, rounds)) report(row);
  return EXIT.success;
}

/** Times the parts in turn, after a turn that does not count. */
async function inTurn(
  parts: readonly Part[],
  rounds: number,
): Promise<Row[]> {
  const taken = new Map(parts.map(({ name }) => [name, [] as Spent[]]));
  for (let round = -1; round < rounds; round++) {
    for (const { name, work } of parts) {
      const spent = await work();
      if (round >= 0) taken.get(name)!.push(spent);
    }
  }
  return [...taken].map(([part, spent]) => {
    const of = (name: keyof Spent) => median(spent.map((it) => it[name]));
    return { part, cpu: of("cpu"), wall: of("wall"), flush: of("flush") };
  });
}

/**
 * A stage of whole pipelines: what runs of all stages cost more than runs with
 * nothing to do, by the number of stages.
 */
async function wholePipelines(
  roots: readonly string[],
  stages: number,
  rounds: number,
): Promise<Row[]> {
  const parts = roots.map((root): Part => {
    const { command: [program, ...args], prepare } = checkout(root);
    return {
      name: `a stage of ${stages} in ${root}`,
      async work() {
        const cwd = Deno.makeTempDirSync({ prefix: "bench-" });
        try {
          prepare(cwd, stages);
          const once = (...more: string[]) =>
            spend("children", async () => {
              const { success, stderr } = await new Deno.Command(program!, {
                args: [...args, ...more],
                cwd,
              }).output();
              if (!success) throw new Error(new TextDecoder().decode(stderr));
            });
          // Reads the code of the tasks, which later runs find in the cache.
          await once();
          const all = await once("--force");
          const noop = await once();
          return {
            cpu: (all.cpu - noop.cpu) / stages,
            wall: (all.wall - noop.wall) / stages,
            flush: 0,
          };
        } finally {
          Deno.removeSync(cwd, { recursive: true });
        }
      },
    };
  });
  return await inTurn(parts, rounds);
}

function lineOf({ part, cpu, wall, flush }: Row): string {
  const figure = (value: number) => value.toFixed(1).padStart(8);
  const ofWhich = flush > 0 ? ` (${flush.toFixed(1)} of wall: flushes)` : "";
  return `${figure(cpu)}${figure(wall)}  ${part}${ofWhich}`;
}
