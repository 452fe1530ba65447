/** Shapes of an adapter's tensors by PEFT's names. */
export type AdapterShapes = ReadonlyMap<string, readonly number[]>;

const LORA =
  /^base_model\.model\.(?:bert|roberta)\.encoder\.layer\.(\d+)\.attention\.self\.(query|value)\.lora_([AB])\.weight$/;

/**
 * Looks for what is wrong with the names and shapes of an adapter's tensors:
 * PEFT itself would load an incomplete adapter with a warning only.
 *
 * Complete is an adapter with A `[rank, hidden]` and B `[hidden, rank]` of
 * query and value in each layer from the first on, and a classification head:
 * RoBERTa's `classifier.dense` and `classifier.out_proj`, or BERT's
 * `bert.pooler.dense` (where it was trained) and `classifier`.
 *
 * @returns The fault in words, if there is one.
 */
export function findAdapterFault(
  shapes: AdapterShapes,
  rank: number,
  labels: number,
): string | undefined {
  const lora = [...shapes.keys()].filter((name) => LORA.test(name));
  const [first] = lora;
  if (first === undefined) return "it has no tensor of LoRA";
  const family = first.split(".")[2]!;
  const hidden = shapes.get(first)![first.includes("lora_A") ? 1 : 0] ?? 0;
  const layers = 1 +
    Math.max(...lora.map((name) => Number(LORA.exec(name)![1])));
  // Compared before anything is counted out: the number stands in a file.
  if (lora.length !== 4 * layers) {
    return `it has ${lora.length} tensors of LoRA, expected ${
      4 * layers
    } for ${layers} layers`;
  }
  const expected = new Map([
    ...loraShapes(family, layers, rank, hidden),
    ...headShapes(family, shapes, hidden, labels),
  ]);
  for (const [name, shape] of expected) {
    const found = shapes.get(name);
    if (found === undefined) return `tensor "${name}" is missing`;
    if (String(found) !== String(shape)) {
      return `tensor "${name}" has shape [${found}], expected [${shape}]`;
    }
  }
  const stranger = [...shapes.keys()].find((name) => !expected.has(name));
  return stranger === undefined
    ? undefined
    : `tensor "${stranger}" is not part of an adapter of ${family}`;
}

function loraShapes(
  family: string,
  layers: number,
  rank: number,
  hidden: number,
): [string, number[]][] {
  const shapes: [string, number[]][] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const module of ["query", "value"]) {
      const name =
        `base_model.model.${family}.encoder.layer.${layer}.attention.self.${module}`;
      shapes.push(
        [`${name}.lora_A.weight`, [rank, hidden]],
        [`${name}.lora_B.weight`, [hidden, rank]],
      );
    }
  }
  return shapes;
}

function headShapes(
  family: string,
  shapes: AdapterShapes,
  hidden: number,
  labels: number,
): [string, number[]][] {
  const linear = (name: string, outputs: number): [string, number[]][] => [
    [`base_model.model.${name}.weight`, [outputs, hidden]],
    [`base_model.model.${name}.bias`, [outputs]],
  ];
  if (family === "roberta") {
    return [
      ...linear("classifier.dense", hidden),
      ...linear("classifier.out_proj", labels),
    ];
  }
  const pooler = linear("bert.pooler.dense", hidden);
  const trained = pooler.some(([name]) => shapes.has(name));
  return [...(trained ? pooler : []), ...linear("classifier", labels)];
}
