/**
 * `deno task results NAME COMMAND`: keeps the report of a run, and writes the
 * page of pipelines/results that is made of it, so that no number is typed.
 */
import { join } from "node:path";
import { cpus } from "node:os";
import * as z from "zod";
import { renderMarkdown } from "../../lib/report/markdown.ts";
import type { Report } from "../../lib/report/report.ts";

/** Where the reports and their pages are kept. */
export const FOLDER = join(import.meta.dirname!, "../../pipelines/results");

/** A report that was kept, and what made it. */
export const Kept = z.strictObject({
  command: z.string(),
  commit: z.string(),
  machine: z.string(),
  /** Without the losses of steps and the texts of mistakes. */
  report: z.custom<Report>(),
});

/** The page of a report that was kept. */
export function pageOf(
  name: string,
  { report, ...made }: z.output<typeof Kept>,
) {
  const text = renderMarkdown(report).split("\n")
    .filter((line) => !/^(# Report|!\[.*\]\(.*\))$/.test(line)).join("\n")
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

function commitNow(): string {
  const git = (...args: string[]) =>
    new TextDecoder().decode(
      new Deno.Command("git", { args, cwd: FOLDER }).outputSync().stdout,
    ).trim();
  const isEdited =
    git("status", "--porcelain", "--", ":/lib/*.ts", ":/tasks/*.ts") !== "";
  return git("rev-parse", "--short=8", "HEAD") + (isEdited ? ", edited" : "");
}

if (import.meta.main) {
  const [name, command, file] = Deno.args;
  if (command === undefined) {
    console.error(
      "Usage: deno task results NAME COMMAND [REPORT]\n\nREPORT: out/NAME/report/report.json by default",
    );
    Deno.exit(2);
  }
  const path = file ?? join(FOLDER, `../../out/${name}/report/report.json`);
  const { comparisons, ...rest }: Report = JSON.parse(
    await Deno.readTextFile(path),
  );
  const report = {
    ...rest,
    comparisons: comparisons.map((it) => ({
      ...it,
      methods: it.methods.map((method) => ({ ...method, trainings: [] })),
      mistakes: { ...it.mistakes, worst: [] },
    })),
  };
  const processors = cpus();
  const machine = `${processors.length} cores of ${processors[0]!.model}`;
  const kept = Kept.parse({ command, commit: commitNow(), machine, report });
  const target = join(FOLDER, name!);
  await Deno.writeTextFile(`${target}.json`, `${JSON.stringify(kept)}\n`);
  await Deno.writeTextFile(`${target}.md`, pageOf(name!, kept));
}
