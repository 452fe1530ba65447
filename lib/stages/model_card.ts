import { stringify } from "@std/yaml";
import type { ModelOrigin } from "../artifacts/model.ts";
import { pythonCode } from "../artifacts/python_code.ts";
import type { ModuleRanks } from "../artifacts/ranks.ts";
import {
  type AdapterRecord,
  drawsInWords,
  servedRanks,
} from "../artifacts/training.ts";
import { kindNamed } from "../engine/adapters/registry.ts";
import { scaleInWords } from "../engine/adapters/scale.ts";
import { methodName, methodTraits } from "../engine/schedules/registry.ts";
import { glueTask, taskTitle } from "../benchmarks/glue.ts";
import {
  exactPercent,
  percent,
  plain,
  withInterval,
} from "../report/format.ts";
import { servedScript } from "./onnx_code.ts";
import type { ReportedScore } from "./recommended_rank.ts";

/** Content of a model card. */
interface CardContent {
  readonly training: AdapterRecord;
  /** The model as the configuration of PEFT names it; undefined if unknown. */
  readonly baseModel?: ModelOrigin | undefined;
  /** What to load as the base model if transformers finds none under that name. */
  readonly base?: string | undefined;
  /** Whether the model is a classifier with another number of outputs, which transformers refuses by default. */
  readonly hasOtherClasses?: boolean;
  readonly ranks: ModuleRanks;
  /** Names of the modules that carry adapters. */
  readonly modules: readonly string[];
  /** Scores of the adapter's method at its rank. */
  readonly scores: readonly ReportedScore[];
  /** File with the scores by rank, in the folder of the card. */
  readonly figure?: string | undefined;
  /** Data sets on the hub; by default GLUE for its tasks. */
  readonly datasets?: readonly string[] | null | undefined;
  /** Languages as ISO 639-1 codes; by default English for the tasks of GLUE. */
  readonly language?: readonly string[] | null | undefined;
  readonly license?: string | null | undefined;
  /** Of an export that is not for PEFT: the library on the hub, what it is, and the code that loads it. */
  readonly other?: {
    readonly library: string;
    readonly what: string;
    readonly code: string;
  };
  /** Paragraphs before the scores. */
  readonly notes?: readonly string[];
}

/**
 * The `README.md` of an exported adapter: metadata as the hub reads them, the
 * code that loads the adapter, scores and training settings. In the code,
 * `"FOLDER"` stands for the folder of the file or its repository.
 */
export function modelCard(card: CardContent): string {
  const { training, ranks, modules, scores, figure, other, notes = [] } = card;
  const used = [...new Set(ranks.values())].sort((a, b) => a - b);
  const { title } = methodTraits(methodName(training));
  return [
    `---\n${stringify(metadata(card), { lineWidth: -1 })}---`,
    `# ${title} for ${plain(taskTitle(training.task))}`,
    `${
      other?.what ??
        "An adapter for [PEFT](https://github.com/huggingface/peft)"
    }: ${
      used.length === 1
        ? `rank ${used[0]} on ${modules.join(" and ")}`
        : `ranks ${used.join(", ")} on ${modules.join(" and ")}, by module,`
    } with the classification head${other ? "" : ", in float32"}.${
      training.labels === null
        ? ""
        : ` Classes: ${training.labels.map(plain).join(", ")}.`
    }`,
    ...(other ? [other.code] : peftCode(card)),
    other
      ? "`FOLDER` is the path of this folder."
      : "`FOLDER` is this folder, or the name of its repository on the hub.",
    ...notes,
    ...(scores.length === 0 ? [] : ["## Scores", ...scores.map(scoreText)]),
    ...(figure === undefined ? [] : [`![Scores by rank](${figure})`]),
    "## Training",
    settingsText(training),
  ].join("\n\n") + "\n";
}

/** Code that loads the adapter with PEFT and, if it has one rank of LoRA, in JavaScript. */
function peftCode(card: CardContent): string[] {
  const { training, ranks } = card;
  const [rank, other] = new Set(ranks.values());
  const python = pythonCode("FOLDER", { ...card, labels: training.labels });
  return [
    "```python\n" + python + "\n```",
    ...(other === undefined && kindNamed(training.adapter) === kindNamed()
      ? [
        "In JavaScript, with the model in ONNX that `deno task export PIPELINE STAGE --to onnx:MODEL` makes of the training:",
        servedScript(rank!, "MODEL"),
      ]
      : []),
  ];
}

/** Data set on the hub with the tasks of GLUE as configurations. */
const GLUE = "nyu-mll/glue";

/** Names of metrics in the hub's library `evaluate`. */
const METRIC_TYPES: Readonly<Record<string, string>> = {
  f1_macro: "f1",
  matthews: "matthews_correlation",
  pearson: "pearsonr",
  spearman: "spearmanr",
};

/** @see https://huggingface.co/docs/hub/model-cards#model-card-metadata */
function metadata(
  { training, baseModel, scores, datasets, language, license, other }:
    CardContent,
) {
  const { task } = training;
  const method = methodName(training);
  const glue = glueTask(task);
  const found = datasets ?? (glue && [GLUE]);
  const languages = language ?? (glue && ["en"]);
  const metrics = scores[0] === undefined
    ? []
    : Object.keys(scores[0].score.metrics).map(metricType);
  const title = `${methodTraits(method).title} for ${taskTitle(task)}`;
  return {
    library_name: other?.library ?? "peft",
    pipeline_tag: "text-classification",
    ...(baseModel && { base_model: baseModel.name }),
    ...(found && { datasets: [...found] }),
    ...(languages && { language: [...languages] }),
    ...(license && { license }),
    ...(metrics.length > 0 && { metrics }),
    tags: [
      ...new Set([training.adapter ?? "lora", "text-classification", method]),
    ],
    ...(scores.length > 0 && {
      "model-index": [{
        name: title,
        results: scores.map(({ comparison, score }) => ({
          task: { type: "text-classification", name: "Text Classification" },
          dataset: {
            name: taskTitle(task),
            type: found?.[0] ?? task,
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

/** Scores on a split with the interval and the seeds, and the report's verdict. */
function scoreText({ comparison, score }: ReportedScore): string {
  const { split, examples, confidence, epoch, verdict } = comparison;
  const [main, ...others] = Object.entries(score.metrics) as [
    [string, typeof score.metrics[string]],
    ...[string, typeof score.metrics[string]][],
  ];
  const { seeds } = score;
  return [
    `${main[0]} ${withInterval(main[1].mean, score.interval)}${
      others.map(([name, { mean }]) => `, ${name} ${percent(mean)}`).join("")
    } on the ${examples} examples of the split ${
      plain(split)
    } (times 100, ${epoch} epoch, ${
      seeds.length === 1
        ? `seed ${seeds[0]}`
        : `mean over seeds ${seeds.join(", ")}`
    }). Brackets are a ${
      exactPercent(confidence)
    } % bootstrap interval over examples and seeds.`,
    ...(verdict === null
      ? []
      : [`**${plain(verdict.headline)}** ${plain(verdict.reasons.join(" "))}`]),
  ].join("\n\n");
}

/** Fields of `training.json` and of {@linkcode settingsText} that a card lists, with their names. */
const SETTINGS = [
  ["method", "Method"],
  ["adapter", "Kind of adapter"],
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
    method: methodTraits(methodName(training)).title,
    draws: drawsInWords(training),
    scale: servedRanks(training).length > 1
      ? scaleInWords(training.scaling)
      : undefined,
  };
  const rows = SETTINGS.flatMap(([field, name]) => {
    const value = values[field];
    return value === undefined || value === null
      ? []
      : [`| ${name} | ${plain(String(value))} |`];
  });
  return ["| Setting | Value |", "| --- | --- |", ...rows].join("\n");
}
