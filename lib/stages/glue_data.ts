import * as z from "zod";
import {
  GLUE_TASKS,
  type GlueTaskName,
  SPLITS,
  splitsNamed,
  wantedSplits,
} from "../benchmarks/glue.ts";
import { quoteAll } from "../data/text_file.ts";

const Split = z.enum(SPLITS);

/** Parameters of the task fetch-glue. */
export const GlueData = z.strictObject({
  task: z.enum(Object.keys(GLUE_TASKS) as [GlueTaskName]).describe(
    "GLUE task, by its name on the hub",
  ),
  source: z.string().min(1).default("hub").describe(
    '"hub", or a folder with the TSV files of GLUE (MRPC/train.tsv and so on)',
  ),
  revision: z.string().regex(/^[\w-][\w.-]*$/).default("main").describe(
    "Branch, tag or commit of the data set on the hub; a branch stays at the commit that was fetched first",
  ),
  splits: z.array(Split).min(1).optional().describe(
    'Required splits ("validation" means both of MNLI); default: those that the source has',
  ),
  limit: z.partialRecord(Split, z.int().positive()).default({}).describe(
    "Maximum number of examples per split, drawn at random",
  ),
  seed: z.int().nonnegative().default(0).describe(
    "Seed of the draw of limit",
  ),
}).superRefine(({ task: name, splits, limit }, context) => {
  const task = GLUE_TASKS[name];
  const refuse = (path: PropertyKey[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  const all = quoteAll(Object.keys(task.tsvFiles));
  const ofTask = `a split of ${task.title} (${all})`;
  splits?.forEach((name, i) => {
    if (splitsNamed(task, name).length === 0) {
      refuse(["splits", i], `Expected ${ofTask}`);
    }
  });
  const wanted = wantedSplits(task, splits);
  for (const name of Object.keys(limit)) {
    const named = splitsNamed(task, Split.parse(name));
    if (named.some((split) => wanted.includes(split))) continue;
    const expected = named.length === 0
      ? ofTask
      : `a split in "splits" (${quoteAll(wanted) || "none"})`;
    refuse(["limit", name], `Expected a limit for ${expected}`);
  }
});

export type GlueData = z.output<typeof GlueData>;
