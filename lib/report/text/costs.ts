import type { Comparison, CostSummary, MethodSummary } from "../report.ts";
import { type Column, table } from "./table.ts";
import { plain, rankList, significant, titleOf } from "./words.ts";

type Costly = MethodSummary & { readonly cost: CostSummary };

/** What the sweep of each method took, and how many times as much a sweep of LoRA takes. */
export function costText(comparison: Comparison): string[] {
  const methods = comparison.methods.filter((method): method is Costly =>
    method.cost !== null
  );
  if (methods.length === 0) return [];
  return [
    "### Costs",
    costTable(methods),
    "Times are those measured when each stage ran, added up: of a training from the reading of its data on, of an evaluation or a reduction the whole stage; a sweep over several seeds counts as their mean. A TFLOP is 10^12 floating-point operations, counted from the shapes of the matrix products, padding included; a reduction has none to speak of.",
    ...speedUpText(comparison),
  ];
}

/** A kind of cost; one that is 0 everywhere is left out. */
interface CostRow {
  readonly title: string;
  readonly text: (cost: CostSummary) => string;
}

const ROWS: readonly CostRow[] = [
  { title: "Ranks", text: ({ ranks }) => rankList(ranks) },
  { title: "Trainings", text: ({ trainings }) => String(trainings) },
  { title: "Optimizer steps", text: ({ steps }) => rounded(steps) },
  { title: "Examples trained on", text: ({ examples }) => rounded(examples) },
  { title: "Seconds per step", text: (it) => significant(it.stepSeconds) },
  {
    title: "Training, seconds",
    text: (it) => significant(it.trainingSeconds),
  },
  {
    title: "Choice of the epoch, seconds",
    text: (it) => significant(it.selectionSeconds),
  },
  {
    title: "Reduction, seconds",
    text: (it) => significant(it.reductionSeconds),
  },
  {
    title: "Evaluation, seconds",
    text: (it) => significant(it.evaluationSeconds),
  },
  { title: "Whole sweep, seconds", text: (it) => significant(it.sweepSeconds) },
  { title: "Training, TFLOP", text: (it) => tera(it.trainingFlops) },
  {
    title: "Choice of the epoch, TFLOP",
    text: (it) => tera(it.selectionFlops),
  },
  { title: "Evaluation, TFLOP", text: (it) => tera(it.evaluationFlops) },
  { title: "Whole sweep, TFLOP", text: (it) => tera(it.sweepFlops) },
];

function costTable(methods: readonly Costly[]): string {
  const columns = methods.map((method): Column<CostRow> => ({
    title: titleOf(method),
    cell: ({ text }) => text(method.cost),
  }));
  const rows = ROWS.filter(({ text }) =>
    methods.some(({ cost }) => text(cost) !== "0")
  );
  return table("Cost", rows, ({ title }) => title, columns);
}

/** One line of the table of speed-ups. */
interface SpeedUpRow {
  readonly title: string;
  readonly sweep: string;
  readonly training: string;
  readonly trainingFlops: string;
  readonly sweepFlops: string;
  readonly examples: string;
}

function speedUpText({ task, methods, contrasts }: Comparison): string[] {
  const rows = contrasts.flatMap(({ candidate, baseline, speedUp }) => {
    if (speedUp === null) return [];
    const [ours, theirs] = [methods[candidate]!, methods[baseline]!];
    return [{
      title: `${withRanks(theirs, speedUp.ranks)} / ${
        withRanks(ours, ours.cost!.ranks)
      }`,
      sweep: times(speedUp.sweep),
      training: times(speedUp.training),
      sweepFlops: times(speedUp.sweepFlops),
      trainingFlops: times(speedUp.trainingFlops),
      examples: times(speedUp.examples),
    }];
  });
  const [first] = rows;
  if (first === undefined) return [];
  const published = task === "mrpc" ? [PAPER_MRPC] : [];
  return [
    `**Speed-up ${first.sweep}**: seconds of the whole sweep, training and evaluation, of ${first.title}.`,
    table<SpeedUpRow>(
      "Speed-up",
      [...rows, ...published],
      ({ title }) => title,
      [
        { title: "Sweep, seconds", cell: ({ sweep }) => sweep },
        { title: "Training, seconds", cell: ({ training }) => training },
        { title: "Sweep, FLOP", cell: ({ sweepFlops }) => sweepFlops },
        { title: "Training, FLOP", cell: ({ trainingFlops }) => trainingFlops },
        { title: "Examples trained on", cell: ({ examples }) => examples },
      ],
    ),
    ...(published.length > 0 ? [PAPER_NOTE] : []),
  ];
}

/** DyLoRA's own figure for MRPC, from seconds of training alone. */
const PAPER_MRPC: SpeedUpRow = {
  title: "The DyLoRA paper: LoRA, 8 ranks / DyLoRA, ranks 1 to 8",
  sweep: "not published",
  training: "7.83x",
  sweepFlops: "not published",
  trainingFlops: "not published",
  examples: "not published",
};

const PAPER_NOTE =
  "The paper's line (arXiv 2210.07558, appendix A): MRPC with RoBERTa-base, 408.39 s for DyLoRA against 8 x 399.95 s for LoRA.";

function withRanks(method: MethodSummary, ranks: readonly number[]): string {
  return `${titleOf(method)}, ${plain(rankList(ranks))}`;
}

function tera(flops: number): string {
  return significant(flops / 1e12);
}

function times(ratio: number): string {
  return `${ratio.toFixed(2)}x`;
}

function rounded(count: number): string {
  return String(Math.round(count));
}
