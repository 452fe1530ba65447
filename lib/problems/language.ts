import type { Message } from "../data/example.ts";
import { repeatedRows } from "../data/faults.ts";
import { describeValue, listIn, textIn } from "../data/labels.ts";
import type { Row } from "../data/columns.ts";
import {
  type LabelColumn,
  metricNamed,
  NUMBERS,
  type Problem,
  type ProblemDetails,
  type ProblemKind,
  summedScorer,
  throwFaults,
} from "./problem.ts";

/** Metrics of the tokens to write, by their losses: lower is better. */
const METRICS: Readonly<Record<string, (mean: number) => number>> = {
  /** Mean loss of a token, in nats. */
  loss: (mean) => mean,
  /** Its exponential: the number of tokens that are equally likely. */
  perplexity: Math.exp,
};

/** Each prompt has one or several texts that may follow it. */
export const language: ProblemKind = {
  name: "language",
  metrics: METRICS,
  lower: Object.keys(METRICS),
  head: "language",
  autoClass: "CausalLM",
  peftTask: "CAUSAL_LM",
  hubTask: { type: "text-generation", name: "Text Generation" },
  of(labels, details) {
    if (labels === null) return after(details);
    throw new SyntaxError(
      'A text to write has no classes: "labels" must be null',
    );
  },
};

/**
 * @param details.starts Where the tokens to write of each prompt start among
 * all, and where the last ones end, `[prompts + 1]`
 */
function after({ starts, ...details }: ProblemDetails = {}): Problem {
  const isChat = details.isChat === true;
  return {
    ...language,
    ...NUMBERS,
    inWords: (task) =>
      `${isChat ? "answers in the conversations" : "texts"} of "${task}"`,
    matches: (other) => (other.isChat === true) === isChat,
    accepts: (token) => Number.isInteger(token) && token >= 0,
    loss: "next-token",
    units: () => starts!.length - 1,
    scorer(name) {
      const metric = metricNamed(METRICS, name);
      return summedScorer(
        { units: starts!.length - 1, width: 2 },
        (losses) =>
          Array.from(starts!.subarray(1)).flatMap((end, prompt) => {
            const start = starts![prompt]!;
            let sum = 0;
            for (let i = start; i < end; i++) sum += losses[i]!;
            return [sum, end - start];
          }),
        ([sum, tokens]) => metric(sum! / tokens!),
      );
    },
    toExample: (it, index) => ({
      ...it,
      index,
      ...isChat && { messages: [{ role: "user", content: it.text }] },
    }),
    prediction: () => {
      throw new TypeError(
        "A text is not written from losses, but token by token: use the task generate, or deno task predict",
      );
    },
    config: {},
    pythonOptions: "",
  };
}

/** What one row has to be written. */
interface Pair {
  readonly text: string;
  /** Undefined in a row that has a prompt alone. */
  readonly completion: string | undefined;
  readonly messages?: readonly Message[];
}

/**
 * Texts to write, by prompt or at the end of conversations; rows with the same
 * prompt become one.
 */
export const completionColumn: LabelColumn = {
  problem: "language",
  reader: () => (rows, isLabelled) => {
    const faults: string[] = [];
    const pairs = rows.flatMap((row) => {
      try {
        const pair = pairOf(row, isLabelled);
        const { messages, text, completion } = pair;
        // A conversation counts as the text of a row, so that equal ones are
        // found.
        const prompt = messages ? JSON.stringify(messages) : text;
        return { ...pair, place: row.place, values: [prompt, completion] };
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        faults.push(error.message);
        return [];
      }
    });
    throwFaults(faults);
    const prompts = Map.groupBy(pairs, ({ values }) => values[0]);
    return [...prompts].map(([prompt, pairs]) => (
      { place: pairs[0]!.place, values: [prompt, pairs] }
    ));
  },
  namesIn: () => null,
  of: () => ({
    read({ values }) {
      const pairs = values[1] as readonly Pair[];
      const completions = pairs.flatMap(({ completion = [] }) => completion);
      const { text, messages } = pairs[0]!;
      return {
        text,
        ...completions.length > 0 && { completions },
        ...messages && { messages },
      };
    },
    describe: () => "texts to write",
    faults: (rows) =>
      repeatedRows(rows.flatMap(({ values }) => values[1] as readonly Row[])),
    usualMetrics: () => Object.keys(METRICS),
  }),
};

/** Big integers, which Parquet files have and JSON has not, as numbers. */
const withoutBigints = (_key: string, value: unknown) =>
  typeof value === "bigint" ? Number(value) : value;

/**
 * The prompt and the text to write of a row: two columns, or one of messages,
 * whose last is to be written.
 */
function pairOf({ place, values }: Row, isLabelled: boolean): Pair {
  if (values.length > 1) {
    const [prompt, completion] = values;
    return {
      text: textIn(prompt, place, "a prompt"),
      completion: isLabelled
        ? textIn(completion, place, "a text to write")
        : undefined,
    };
  }
  const messages = (listIn(values[0]) ?? []).map((it) => {
    const message = Object(it) as Message;
    textIn(message.role, place, "a role of a message");
    textIn(message.content, place, "a content of a message");
    return JSON.parse(JSON.stringify(message, withoutBigints)) as Message;
  });
  const last = messages.at(-1);
  if (last?.role === "assistant" && messages.length > 1) {
    return {
      text: messages.at(-2)!.content,
      completion: last.content,
      messages: messages.slice(0, -1),
    };
  }
  const actual = last
    ? `${messages.length} with the role "${last.role}" last`
    : `none in ${describeValue(values[0])}`;
  throw new SyntaxError(
    `${place}: Expected a list of two or more messages with "role" and "content", the last one that of the assistant, which is to be written; found ${actual}`,
  );
}
