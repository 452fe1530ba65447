import { join } from "@std/path/posix/join";
import { stringify } from "@std/yaml";
import { exists } from "../artifacts/json_file.ts";
import type { ModelOrigin } from "../artifacts/model.ts";
import { taskFields } from "../artifacts/classes.ts";
import {
  FOLDER,
  FOLDER_NOTE,
  type Loading,
  pythonCode,
} from "../peft/python.ts";
import { type AdapterRecord, ranksInWords } from "../artifacts/training.ts";
import { glueTask, taskTitle } from "../benchmarks/glue.ts";
import { kindNamed } from "../engine/adapters/registry.ts";
import { peftTargets } from "../peft/names.ts";
import {
  methodName,
  provenanceOf,
  provenanceTitle,
} from "../engine/schedules/registry.ts";
import { servedScript, type Usage } from "../onnx/usage.ts";
import { problemOf } from "../problems/registry.ts";
import { type ReportedScore, reportedScores } from "./recommended_rank.ts";
import { figureName } from "../report/figure_names.ts";
import {
  exactPercent,
  formatOf,
  metricTitle,
  plain,
  table,
  withInterval,
} from "../report/format.ts";
import type { CutAdapter, CuttingStage } from "./cut_adapter.ts";

/** What a model card says besides the adapter and its scores. */
export interface CardContent extends Omit<Loading, "problem" | "labels"> {
  /** The model as the configuration of PEFT names it; undefined if unknown. */
  readonly baseModel?: ModelOrigin | undefined;
  /** File beside the card for the report's figure of scores by rank. */
  readonly figure?: string;
  /** What an export that is not for PEFT is. */
  readonly usage?: Usage;
  /** Paragraphs before the scores. */
  readonly notes?: readonly string[];
}

/**
 * Writes the `README.md` of an exported adapter: metadata as the hub reads
 * them, the code that loads it, its scores in the report of the stage, if any,
 * and the settings of the training. In the code, `"FOLDER"` stands for the
 * folder of the file or its repository.
 */
export async function writeModelCard(
  { params, inputs: { report }, output }: CuttingStage,
  cut: CutAdapter,
  content: CardContent,
): Promise<void> {
  const { adapter: { training }, rank, tensors } = cut;
  const { figure, usage, notes = [] } = content;
  const scores = report === undefined
    ? []
    : await reportedScores(report.path, training, params, rank);
  const drawn = figure !== undefined && scores.length > 0 &&
    join(report!.path, figureName(scores[0]!.comparison));
  const hasFigure = drawn !== false && exists(drawn);
  if (hasFigure) await Deno.copyFile(drawn, join(output, figure!));
  const title = provenanceTitle(provenanceOf(training));
  const { classes, head, threshold } = problemOf(training);
  const facts = metadata(title, training, scores, content);
  const isEmbedding = head === "embedding";
  const what = usage?.what ??
    (isEmbedding
      ? "An adapter for [sentence-transformers](https://sbert.net) and [PEFT](https://github.com/huggingface/peft)"
      : "An adapter for [PEFT](https://github.com/huggingface/peft)");
  const modules = peftTargets(training.targetModules, Object.keys(tensors))
    .join(" and ");
  const hasHead = head !== "language" && !isEmbedding;
  const also = hasHead ? " with the classification head" : "";
  const dtype = usage ? "" : ", in float32";
  const named = classes.map(plain).join(", ");
  const areClasses = threshold === undefined;
  const namedAs = areClasses
    ? "Classes"
    : "Labels, of which a text has any number";
  const deciding = areClasses ? [] : [
    `The probability of each label is the logistic function of its logit, \`logits.sigmoid()\` in PyTorch; a label is predicted from ${threshold} on.`,
  ];
  const paragraphs = [
    `---\n${stringify(facts, { lineWidth: -1 })}---`,
    `# ${title} for ${plain(taskTitle(training.task))}`,
    `${what}: rank ${rank} on ${modules}${also}${dtype}.` +
    (named && ` ${namedAs}: ${named}.`),
    ...deciding,
    ...(usage ? [usage.code] : peftCode(cut, content)),
    usage ? "`FOLDER` is the path of this folder." : FOLDER_NOTE,
    ...notes,
    ...(scores.length === 0 ? [] : ["## Scores", ...scores.map(scoreText)]),
    ...(hasFigure ? [`![Scores by rank](${figure})`] : []),
    "## Training",
    settingsText(training),
  ];
  const text = `${paragraphs.join("\n\n")}\n`;
  await Deno.writeTextFile(join(output, "README.md"), text);
}

/**
 * Code that loads the adapter with PEFT and, if it is a LoRA, in JavaScript.
 */
function peftCode(
  { adapter: { training }, rank }: CutAdapter,
  content: CardContent,
): string[] {
  const python = pythonCode(FOLDER, { ...content, ...taskFields(training) });
  return [
    "```python\n" + python + "\n```",
    ...(kindNamed(training.adapter) === kindNamed() &&
        problemOf(training).head !== "language"
      ? [
        "In JavaScript, with the model in ONNX that `deno task export PIPELINE STAGE --to onnx:MODEL` makes of the training:",
        servedScript(
          rank,
          problemOf(training).head === "embedding",
          "MODEL",
        ),
      ]
      : []),
  ];
}

/** Data set on the hub with the tasks of GLUE as configurations. */
const GLUE = "nyu-mll/glue";

/** Names of metrics in the hub's library `evaluate`. */
const METRIC_TYPES: Readonly<Record<string, string>> = {
  f1_macro: "f1",
  micro_f1: "f1",
  macro_f1: "f1",
  weighted_f1: "f1",
  subset_accuracy: "accuracy",
  matthews: "matthews_correlation",
  pearson: "pearsonr",
  spearman: "spearmanr",
};

/** @see https://huggingface.co/docs/hub/model-cards#model-card-metadata */
function metadata(
  title: string,
  training: AdapterRecord,
  scores: readonly ReportedScore[],
  { baseModel, usage }: CardContent,
) {
  const { task } = training;
  const { hubTask, head } = problemOf(training);
  const isEmbedding = head === "embedding";
  const method = methodName(provenanceOf(training));
  const glue = glueTask(task);
  const names = Object.keys(scores[0]?.score.metrics ?? {});
  const metrics = [...new Set(names.map(metricType))];
  return {
    library_name: usage?.library ??
      (isEmbedding ? "sentence-transformers" : "peft"),
    pipeline_tag: hubTask.type,
    ...(baseModel && { base_model: baseModel.name }),
    ...(glue && { datasets: [GLUE], language: ["en"] }),
    ...(metrics.length > 0 && { metrics }),
    tags: [
      ...new Set([
        training.adapter ?? "lora",
        hubTask.type,
        method,
        ...isEmbedding ? ["sentence-transformers", "peft"] : [],
      ]),
    ],
    ...(scores.length > 0 && {
      "model-index": [{
        name: `${title} for ${taskTitle(task)}`,
        results: scores.map(({ comparison, score }) => ({
          task: hubTask,
          dataset: {
            name: taskTitle(task),
            type: glue ? GLUE : task,
            ...(glue && { config: task }),
            split: comparison.split,
          },
          metrics: Object.entries(score.metrics).flatMap(([name, { mean }]) =>
            mean === null ? [] : [{ type: metricType(name), name, value: mean }]
          ),
        })),
      }],
    }),
  };
}

function metricType(name: string): string {
  return METRIC_TYPES[name] ?? name;
}

/**
 * Scores on a split with the interval and the seeds, and the report's verdict.
 */
function scoreText({ comparison, score }: ReportedScore): string {
  const { examples, confidence, epoch, verdict } = comparison;
  const { metrics, interval, seeds } = score;
  const values = Object.entries(metrics).map(([name, { mean }], i) => {
    const { value } = formatOf(name);
    const title = plain(metricTitle(name, comparison));
    return i === 0
      ? `${title}: ${withInterval(mean, interval, value)}`
      : `${title}: ${value(mean)}`;
  }).join("; ");
  const split = plain(comparison.split);
  const level = exactPercent(confidence);
  const of = seeds.length === 1
    ? `seed ${seeds[0]}`
    : `mean over seeds ${seeds.join(", ")}`;
  const text =
    `${values} on the ${examples} examples of the split ${split} (${epoch} epoch, ${of}). Brackets are a ${level} % interval over examples and seeds.`;
  if (verdict === null) return text;
  const reasons = plain(verdict.reasons.join(" "));
  return `${text}\n\n**${plain(verdict.headline)}** ${reasons}`;
}

/**
 * Fields of `training.json` and of {@linkcode settingsText} that a card lists,
 * with their names.
 */
const SETTINGS = [
  ["method", "Method"],
  ["adapter", "Kind of adapter"],
  ["heads", "Heads"],
  ["rank", "Trained rank, R"],
  ["alpha", "Alpha"],
  ["draws", "Ranks drawn"],
  ["scale", "Scale at rank b"],
  ["seed", "Seed"],
  ["epochs", "Epochs"],
  ["steps", "Optimizer steps"],
  ["batchSize", "Batch size"],
  ["learningRate", "Learning rate"],
  ["warmupRatio", "Warm-up"],
  ["weightDecay", "Weight decay"],
  ["classWeights", "Class weights"],
  ["precision", "Precision"],
] as const;

function settingsText(training: AdapterRecord): string {
  const values: Readonly<Record<string, unknown>> = {
    ...training,
    method: provenanceTitle(provenanceOf(training)),
    ...ranksInWords(training),
    heads: training.heads &&
      `one for each rank, its last layer fitted to ${training.heads.examples} training examples`,
  };
  const rows = SETTINGS.map(([field, name]) => [name, values[field]] as const)
    .filter(([, value]) => value != null)
    .map(([name, value]) => [name, plain(String(value))]);
  return table(["Setting", "Value"], rows);
}
