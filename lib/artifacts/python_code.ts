/** What the code that loads an exported adapter depends on. */
interface Loading {
  /** Class names in the order of their ids; null for a regression. */
  readonly labels: readonly string[] | null;
  /** The model as the configuration of PEFT names it; undefined if unknown. */
  readonly baseModel: string | undefined;
  /** Whether transformers finds a model under that name. */
  readonly isLoadable: boolean;
  /** Whether the model may be a classifier with another number of outputs, which transformers refuses by default. */
  readonly hasOtherClasses: boolean;
}

/** The Python code that loads the adapter in a folder, or in its repository, and its tokenizer. */
export function pythonCode(
  folder: string,
  { labels, baseModel, isLoadable, hasOtherClasses }: Loading,
): string {
  const place = JSON.stringify(folder);
  const classes = labels === null
    ? 'num_labels=1, problem_type="regression"'
    : `id2label={${
      labels.map((label, id) => `${id}: ${JSON.stringify(label)}`).join(", ")
    }}`;
  const head = hasOtherClasses
    ? `${classes}, ignore_mismatched_sizes=True`
    : classes;
  if (isLoadable) {
    return [
      "from peft import AutoPeftModelForSequenceClassification",
      "from transformers import AutoTokenizer",
      `model = AutoPeftModelForSequenceClassification.from_pretrained(${place}, ${head})`,
      `tokenizer = AutoTokenizer.from_pretrained(${place})`,
    ].join("\n");
  }
  const model = baseModel === undefined
    ? "the model on which the adapter was trained"
    : `the folder of the model ${baseModel}`;
  return [
    "from peft import PeftModel",
    "from transformers import AutoModelForSequenceClassification",
    `base = AutoModelForSequenceClassification.from_pretrained(${
      JSON.stringify(model)
    }, ${head})`,
    `model = PeftModel.from_pretrained(base, ${place})`,
  ].join("\n");
}
