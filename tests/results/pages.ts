/**
 * `deno task results NAME COMMAND`: keeps the report of a run, and writes the
 * pages of pipelines/results that are made of it, so that no number is typed:
 * its own, and that of the differences between methods in all that are kept.
 */
import { dirname, join } from "node:path";
import { cpus } from "node:os";
import { parseArgs } from "@std/cli/parse-args";
import * as z from "zod";
import { rankFigure } from "../../lib/report/figure.ts";
import { formatOf, table, withInterval } from "../../lib/report/format.ts";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import { methodTitle, ranksOf } from "../../lib/report/methods.ts";
import type { Comparison, Mistakes, Report } from "../../lib/report/report.ts";

/** Where the reports and their pages are kept. */
export const FOLDER = join(import.meta.dirname!, "../../pipelines/results");

/** A report that was kept, and what made it. */
export const Kept = z.strictObject({
  command: z.string(),
  commit: z.string(),
  machine: z.string(),
  /** Without the losses of steps and the texts of mistakes and faults. */
  report: z.custom<Report>(),
});

/** The page of a report that was kept. */
export function pageOf(
  name: string,
  { report, ...made }: z.output<typeof Kept>,
) {
  const text = renderMarkdown(report).split("\n")
    .filter((line) =>
      !/^(# Report|There are no mistakes\.|!\[.*\]\(.*\))$/.test(line)
    ).join("\n")
    .replaceAll(/\n{3,}/g, "\n\n").trim();
  return `<!-- deno-fmt-ignore-file -->

# ${name}

Made by \`deno task results\` of the report in [${name}.json](${name}.json):
commit \`${made.commit}\`, ${made.machine}.

\`\`\`sh
${made.command}
\`\`\`

${text}
`;
}

/** The report whose curve README.md shows. */
export const SHOWN = "banking77";

/** The curve of the report that README.md shows, for a light or a dark page. */
export async function shownFigure(theme: "light" | "dark"): Promise<string> {
  const [comparison] = readKept(SHOWN).report.comparisons;
  const svg = await rankFigure(comparison!, theme);
  return `${svg}\n`;
}

/** Names of the reports that were kept. */
export function keptNames(): string[] {
  return [...Deno.readDirSync(FOLDER)]
    .flatMap(({ name }) => /^(.+)\.json$/.exec(name)?.[1] ?? []).sort();
}

/** Reads a report that was kept. */
export function readKept(name: string): z.output<typeof Kept> {
  const text = Deno.readTextFileSync(join(FOLDER, `${name}.json`));
  return Kept.parse(JSON.parse(text));
}

/**
 * The reports that differences are of: each has texts to classify or to rate of
 * its own, or the same in another variant.
 */
const COMPARED = /^(?:banking77|clinc150|heads)(?:-(.*))?$/;

/** Titles of the variants. */
const VARIANTS: Readonly<Record<string, string>> = {
  "": "all-MiniLM-L6-v2",
  base: "MPNet-base",
  8: "all-MiniLM-L6-v2, trained at rank 8",
  descend: "all-MiniLM-L6-v2, learned at rank 64, sorted, and on to rank 8",
  sorted: "all-MiniLM-L6-v2, sorted DyLoRA of rank 8",
  paper: "all-MiniLM-L6-v2, DyLoRA of rank 8 as in the paper",
};

interface Difference {
  readonly difference: number | null;
  readonly interval: readonly [number, number] | null;
}

/**
 * Mean of independent differences; half the length of its interval is the root
 * of the sum of the squares of theirs, over their number.
 */
function meanOf(of: readonly Difference[]): Difference {
  const mean = (values: number[]) =>
    values.reduce((sum, it) => sum + it, 0) / of.length;
  const difference = mean(of.map((it) => it.difference!));
  const halves = of.map(({ interval }) => (interval![1] - interval![0]) / 2);
  const half = Math.hypot(...halves) / of.length;
  return { difference, interval: [difference - half, difference + half] };
}

/**
 * The page of the differences between the methods of all reports that were
 * kept: each task, and their mean.
 */
export function differencesPage(): string {
  const found = keptNames().filter((name) => COMPARED.test(name))
    .flatMap((name) =>
      readKept(name).report.comparisons.flatMap((comparison) =>
        comparison.contrasts.map((contrast) => {
          const [candidate, baseline] = [contrast.candidate, contrast.baseline]
            .map((i) => methodTitle(comparison.methods[i]!));
          const { seeds } = comparison.methods[contrast.candidate]!.ranks[0]!;
          return {
            pair: `${candidate} - ${baseline}`,
            task: `[${comparison.title}](${name}.md)`,
            seeds: seeds.length,
            variant: VARIANTS[COMPARED.exec(name)![1] ?? ""]!,
            ranks: contrast.ranks,
          };
        })
      )
    );
  const groups = Map.groupBy(
    found,
    ({ pair, variant }) => `${pair}, ${variant}`,
  );
  const sections = [...groups].filter(([, of]) => of.length > 1)
    .map(([title, of]) => {
      const ranks = ranksOf(of);
      const text = (it: Difference | undefined) =>
        it
          ? withInterval(
            it.difference,
            it.interval,
            formatOf("accuracy").signed,
          )
          : "";
      const at = (rank: number) =>
        of.map((it) => it.ranks.find((other) => other.rank === rank));
      const rows = of.map(({ task, seeds }, i) => [
        task,
        String(seeds),
        ...ranks.map((rank) => text(at(rank)[i])),
      ]);
      const means = ranks.map((rank) => {
        const all = at(rank).filter((it) => it !== undefined);
        return all.length === of.length ? text(meanOf(all)) : "";
      });
      return `## ${title}\n\n${
        table(["Task", "Seeds", ...ranks.map((it) => `rank ${it}`)], [
          ...rows,
          [`**mean of ${of.length}**`, "", ...means],
        ], ["Task"])
      }\n`;
    });
  return `<!-- deno-fmt-ignore-file -->

# Differences between methods

Made by \`deno task results\` of reports that are kept here: points, paired by
example and seed, with 95 % intervals. Tasks are independent, so half the length
of a mean's interval is the root of the sum of the squares of theirs, over their
number; a mean is of tasks that all have the rank.

${sections.join("\n")}`;
}

/**
 * A comparison without the seconds of a machine that was busy with more than
 * its run.
 */
function withoutSeconds(comparison: Comparison): Comparison {
  return {
    ...comparison,
    methods: comparison.methods.map((method) => ({
      ...method,
      cost: method.cost && {
        ...method.cost,
        ...{ stepSeconds: 0, trainingSeconds: 0, selectionSeconds: 0 },
        ...{ reductionSeconds: 0, evaluationSeconds: 0, sweepSeconds: 0 },
      },
    })),
    contrasts: comparison.contrasts.map((contrast) => ({
      ...contrast,
      speedUp: contrast.speedUp &&
        { ...contrast.speedUp, training: null, sweep: null },
    })),
  };
}

/** Counts of mistakes without texts of the data, which may be anybody's. */
function withoutTexts({ missed, ...mistakes }: Mistakes): Mistakes {
  return {
    ...mistakes,
    ...missed && {
      missed: missed.map(({ position }) => ({ position })),
    },
    worst: [],
  };
}

/** A fault of data without the text that it quotes. */
const withoutText = (fault: string) => fault.replace(/, first ".*$/, "");

/** The commit of the checkout in which a report was made. */
function commitOf(report: string): string {
  const cwd = dirname(report);
  const git = (...args: string[]) =>
    new TextDecoder().decode(
      new Deno.Command("git", { args, cwd }).outputSync().stdout,
    ).trim();
  const isEdited =
    git("status", "--porcelain", "--", ":/lib/*.ts", ":/tasks/*.ts") !== "";
  return git("rev-parse", "--short=8", "HEAD") + (isEdited ? ", edited" : "");
}

if (import.meta.main) {
  const { _: [name, command, file], idle } = parseArgs(Deno.args, {
    boolean: ["idle"],
    string: ["_"],
  });
  if (command === undefined) {
    console.error(
      "Usage: deno task results NAME COMMAND [REPORT] [--idle]\n\nREPORT: out/NAME/report/report.json by default\n--idle: nothing else ran on the machine, so its seconds are kept",
    );
    Deno.exit(2);
  }
  const path = file ?? join(FOLDER, `../../out/${name}/report/report.json`);
  const { comparisons, faults, ...rest }: Report = JSON.parse(
    await Deno.readTextFile(path),
  );
  const report = {
    ...rest,
    ...faults && { faults: faults.map(withoutText) },
    comparisons: comparisons.map((it) => idle ? it : withoutSeconds(it)).map((
      it,
    ) => ({
      ...it,
      methods: it.methods.map((method) => ({ ...method, trainings: [] })),
      mistakes: withoutTexts(it.mistakes),
    })),
  };
  const processors = cpus();
  const machine = `${processors.length} cores of ${processors[0]!.model}`;
  const kept = Kept.parse({ command, commit: commitOf(path), machine, report });
  const target = join(FOLDER, name!);
  await Deno.writeTextFile(`${target}.json`, `${JSON.stringify(kept)}\n`);
  await Deno.writeTextFile(`${target}.md`, pageOf(name!, kept));
  await Deno.writeTextFile(join(FOLDER, "differences.md"), differencesPage());
  for (const theme of ["light", "dark"] as const) {
    const path = join(FOLDER, `${SHOWN}-${theme}.svg`);
    await Deno.writeTextFile(path, await shownFigure(theme));
  }
}
