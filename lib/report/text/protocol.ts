import type { Comparison, MethodSummary } from "../report.ts";
import { exactPercent, plain, titleOf } from "./words.ts";

/** Settings of trainings, as a report writes them. */
const SETTINGS = [
  ["epochs", "epochs"],
  ["batchSize", "examples a step"],
  ["learningRate", "learning rate"],
  ["alpha", "alpha"],
  ["scale", "scale at rank b"],
  ["precision", "precision"],
  ["engine", "engine"],
] as const;

/** What was measured, and how: which examples, epoch and seeds, and the settings of the trainings. */
export function protocolText(comparison: Comparison): string[] {
  const { split, examples, epoch, confidence } = comparison;
  const evaluated = `${examples} examples of the split ${plain(split)}.`;
  const chosen = epoch === "last"
    ? "Each training is evaluated as its last epoch left it."
    : bestEpochText(comparison);
  const intervals = `All scores are times 100; brackets are ${
    exactPercent(confidence)
  } % intervals by bootstrap over examples and seeds${
    fewSeedsText(comparison)
  }.`;
  return [
    [evaluated, chosen, seedsText(comparison), intervals].join(" "),
    ...settingsText(comparison),
  ];
}

/** How the best epoch was chosen, and what that does to its scores. */
function bestEpochText({ methods, split, metrics }: Comparison): string {
  const splits = [
    ...new Set(methods.flatMap(({ settings }) => settings?.selectedOn ?? [])),
  ];
  const text = `Each training is evaluated at its best epoch: the one whose ${
    metrics[0]
  }, averaged over its ranks, was highest on the split ${
    plain(splits.join(" or "))
  }.`;
  return splits.includes(split)
    ? `${text} These are the examples reported here, so scores are a little too good.`
    : text;
}

function seedsText({ methods }: Comparison): string {
  const groups = Map.groupBy(
    methods,
    ({ ranks }) =>
      [...new Set(ranks.map(({ seeds }) => seeds.join(", ")))].join(" or "),
  );
  const of = (seeds: string) =>
    seeds.includes(",") ? `seeds ${seeds}` : `seed ${seeds}`;
  if (groups.size === 1) {
    const [seeds] = [...groups.keys()] as [string];
    return seeds.includes(",")
      ? `Trained with the ${of(seeds)}.`
      : `One seed (${seeds}).`;
  }
  return `Trained with ${
    [...groups].map(([seeds, found]) =>
      `${of(seeds)} (${found.map(titleOf).join(", ")})`
    ).join("; ")
  }.`;
}

/** Seeds below which a bootstrap over them shows clearly less than they vary. */
const FEW_SEEDS = 10;

/** A bootstrap over n values finds (n - 1) / n of their variance: over one, none. */
function fewSeedsText({ methods }: Comparison): string {
  const least = ({ ranks }: MethodSummary) =>
    Math.min(...ranks.map(({ seeds }) => seeds.length));
  const single = methods.filter((method) => least(method) === 1);
  const several = methods.filter((method) => !single.includes(method));
  const nothing = "hold nothing of how trainings differ";
  if (several.length === 0) return `; with one seed they ${nothing}`;
  return [
    ...(several.some((method) => least(method) < FEW_SEEDS)
      ? ["; with so few seeds they are somewhat narrow"]
      : []),
    ...(single.length > 0
      ? [`; those of one seed (${single.map(titleOf).join(", ")}) ${nothing}`]
      : []),
  ].join("");
}

/** Settings that all trainings share once, the others with their methods. */
function settingsText({ methods }: Comparison): string[] {
  const evaluations = `Evaluations: precision ${
    valuesText(methods, ({ evaluatedIn }) => evaluatedIn)
  }.`;
  const trained = methods.filter(({ settings }) => settings !== null);
  if (trained.length === 0) return [evaluations];
  const texts = SETTINGS.flatMap(([key, name]) => {
    const text = valuesText(trained, ({ settings }) => settings![key]);
    return text === "" ? [] : [`${name} ${text}`];
  });
  return [
    `Trainings: ${texts.join("; ")}.${startText(trained)} ${evaluations}`,
  ];
}

/** Values of methods, with the methods that have them unless all share one. */
function valuesText(
  methods: readonly MethodSummary[],
  valuesOf: (method: MethodSummary) => readonly (string | number)[],
): string {
  const groups = Map.groupBy(
    methods.filter((method) => valuesOf(method).length > 0),
    (method) => valuesOf(method).join(" or "),
  );
  return [...groups].map(([value, found]) =>
    groups.size === 1 ? value : `${value} (${found.map(titleOf).join(", ")})`
  ).join(", ");
}

/** Which adapters did not start anew. */
function startText(trained: readonly MethodSummary[]): string {
  const started = trained.filter(({ settings }) =>
    settings!.startedFrom.length > 0
  );
  if (started.length === 0) return "";
  const tasks = new Set(
    started.flatMap(({ settings }) => settings!.startedFrom),
  );
  return ` Adapters were carried over from trainings on ${
    plain([...tasks].join(", "))
  }, whose costs are not counted here (${started.map(titleOf).join(", ")}).`;
}
