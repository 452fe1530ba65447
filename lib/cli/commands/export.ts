import { resolve } from "node:path";
import { command } from "../arguments/arguments.ts";
import { createFolder, KEY_OPTIONS, shortPath } from "../arguments/options.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { runAlone } from "./run_alone.ts";
import { adapterStage } from "./stage_result.ts";

/** `deno task export`: exports a stage's adapter for PEFT. */
export const exportCommand = command`
  export PIPELINE STAGE

  Export the adapter of a stage, at one of its ranks, as a folder for PEFT. The folder is the one that a stage of the task export-adapter writes, so the pipeline needs no such stage for the rank.

  STAGE makes an adapter, as trainings do, and has run with the same parameters (-S, --profile) and engine.

  Options:
  --rank N  Rank to export (default: the adapter's own)
  --epoch NAME{last,best}  Epoch of the adapter: last or best (default last)
  --to DIR  Folder to create (default: named after the stage and the rank, in the current folder)
  ${KEY_OPTIONS}

  Examples:
  smoke train-dylora --rank 4  Export the adapter at rank 4
  glue-mini train-dylora@mrpc,seed=0 --rank 2 --to ./mrpc  Name the folder
`(async (args) => {
  const rank = args.integer("rank", 1);
  const { stage, model, open } = await adapterStage(args, ["adapter"]);
  const name = rank === undefined ? stage.id : `${stage.id}-rank-${rank}`;
  const output = resolve(Deno.cwd(), args.value("to") ?? name);
  const sources = { adapter: stage, ...(model !== undefined && { model }) };
  using results = await open(
    stage.id,
    Object.values(sources).map(({ id }) => id),
  );
  return await interruptible(async (signal) => {
    await createFolder(output, (folder) =>
      runAlone(args, "export-adapter", {
        params: {
          ...(rank !== undefined && { rank }),
          ...(args.has("epoch") && { epoch: args.value("epoch") }),
        },
        inputs: Object.fromEntries(
          Object.entries(sources).map((
            [name, { id }],
          ) => [name, results.of(id)]),
        ),
        ...{ folder, lastingPaths: results.lastingPaths, signal },
      }));
    const at = rank === undefined ? "" : ` at rank ${rank}`;
    console.log(`Exported ${stage.id}${at} to ${shortPath(output)}`);
  });
});
