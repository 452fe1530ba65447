import { printable } from "../pipeline/faults.ts";

/** What `classification.json` of the task `classify` says. */
export interface Predictions {
  readonly task: string;
  readonly method: string;
  readonly rank: number;
  readonly texts: readonly {
    readonly text: string;
    readonly pair?: string;
    readonly label: string | null;
    readonly probabilities: Readonly<Record<string, number>> | null;
    readonly score: number | null;
  }[];
}

/** Predictions as text: the label, each text below it with its probabilities; or a line of JSON for each. */
export function printPredictions(
  { task, method, rank, texts }: Predictions,
  json: boolean,
): string {
  const lines = json
    ? texts.map((text) => JSON.stringify({ type: "prediction", ...text, rank }))
    : [
      `${printable(task)}, ${method} at rank ${rank}`,
      ...texts.flatMap(({ text, pair, label, probabilities, score }) => [
        "",
        printable(pair === undefined ? text : `${text} | ${pair}`),
        ...(probabilities === null || label === null
          ? [`  ${score!.toFixed(3)}`]
          : rowsOf(label, probabilities)),
      ]),
    ];
  return lines.map((line) => `${line}\n`).join("");
}

/** The predicted class first, then the others by their probability. */
function rowsOf(
  label: string,
  probabilities: Readonly<Record<string, number>>,
): string[] {
  const width = Math.max(
    ...Object.keys(probabilities).map((name) => printable(name).length),
  );
  return Object.entries(probabilities)
    .sort(([a, p], [b, q]) => a === label ? -1 : b === label ? 1 : q - p)
    .map(([name, value]) =>
      `  ${printable(name).padEnd(width)}  ${value.toFixed(4)}`
    );
}
