import type { Graph, GraphStage } from "../../pipeline/graph.ts";
import { visibleFolder } from "../../scheduler/visible.ts";
import { join } from "../../store/paths.ts";
import type { Arguments } from "../arguments/arguments.ts";
import { shortPath, stageCommand } from "../arguments/options.ts";
import type { Answer, Finding } from "../terminal/messages.ts";

/** The fields of `report.json` that are read here. */
interface Report {
  readonly comparisons: readonly {
    readonly title: string;
    readonly split: string;
    readonly epoch: string;
    readonly verdict: {
      readonly kind: string;
      readonly headline: string;
      readonly reasons: readonly string[];
      readonly recommended: { readonly rank: number };
    } | null;
  }[];
}

/**
 * Collects the last lines of a run from the results of its stages: its reports,
 * and its exported adapters or else its trained ones.
 *
 * @param current Ids of the stages of the run.
 * @param pages Paths of the pages of reports, by the id of the stage.
 * @returns Undefined if there is no report and no adapter.
 */
export function answerOf(
  graph: Graph,
  current: ReadonlySet<string>,
  pages: ReadonlyMap<string, string>,
  out: string,
  args: Arguments,
): Answer | undefined {
  const stages = [...graph.stages.values()].filter(({ id }) => current.has(id));
  const ofKind = (kind: string, file: string) =>
    stages.filter(({ declaration: { output } }) =>
      output.kind === kind && output.files.includes(file)
    );
  const pathOf = (stage: GraphStage, ...file: string[]) =>
    join(visibleFolder(out, graph.pipeline, stage), ...file);
  const reports = ofKind("report", "report.json");
  const findings = reports.flatMap((stage) =>
    findingsOf(JSON.parse(Deno.readTextFileSync(pathOf(stage, "report.json"))))
  );
  const exported = ofKind("peft", "README.md");
  const adapters = exported.length > 0
    ? exported
    : ofKind("adapter", "training.json");
  if (reports.length + adapters.length === 0) return undefined;
  const [first] = adapters;
  const nothingLearnt = findings.length > 0 &&
    findings.every(({ rank }) => rank === undefined);
  return {
    type: "answer",
    findings,
    reports: reports.map((stage) =>
      shortPath(pages.get(stage.id) ?? pathOf(stage))
    ),
    adapters: adapters.map((stage) => shortPath(pathOf(stage))),
    ...(first !== undefined && !nothingLearnt && {
      predict: predictCommand(first, graph, args),
    }),
    python: exported.length > 0 && !nothingLearnt
      ? pythonLines(pathOf(exported[0]!))
      : [],
  };
}

function findingsOf({ comparisons }: Report): Finding[] {
  return comparisons.flatMap(({ title, split, epoch, verdict }) => {
    if (verdict === null) return [];
    const others = comparisons.filter((it) => it.title === title);
    const more = [
      ...(others.some((it) => it.split !== split) ? [split] : []),
      ...(others.some((it) => it.epoch !== epoch) ? [`${epoch} epoch`] : []),
    ];
    const { kind, headline, reasons, recommended } = verdict;
    return [{
      title: [title, ...more].join(", "),
      headline,
      reasons,
      ...(kind !== "nothing-learnt" && { rank: recommended.rank }),
    }];
  });
}

/** The command that classifies a text with a stage's adapter. */
function predictCommand(
  { id, name }: GraphStage,
  graph: Graph,
  args: Arguments,
): string {
  const alone = [...graph.stages.values()]
    .filter((other) => other.name === name).length === 1;
  return `${stageCommand("predict", args, alone ? name : id)} "your text"`;
}

/** The lines of Python in the model card of a folder. */
function pythonLines(folder: string): string[] {
  const card = Deno.readTextFileSync(join(folder, "README.md"));
  const [, code = ""] = /^```python\n([^]*?)^```/m.exec(card) ?? [];
  return code.trimEnd().split("\n").map((line) =>
    line.replaceAll('"FOLDER"', JSON.stringify(shortPath(folder)))
  );
}
