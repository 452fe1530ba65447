import { SplitPreTokenizer } from "@huggingface/tokenizers";
import * as z from "zod";

/** Milliseconds that a pattern may take for one text. */
const LIMIT = 2000;

/**
 * Finds the parts of a text that match: `[start, end)` of each, in UTF-16
 * units.
 */
export type TextPattern = (
  text: string,
) => readonly (readonly [start: number, end: number])[];

const Setting = z.union([
  z.strictObject({ String: z.string() }),
  z.strictObject({ Regex: z.string() }),
]);

/**
 * Compiles a `pattern` of a `tokenizer.json`: a string, or a regular expression
 * of Oniguruma, which the library rewrites for JavaScript.
 *
 * @returns A function that throws a `RangeError` if it backtracks for too long.
 * @throws {z.ZodError | SyntaxError} If it is not a pattern.
 */
export function textPattern(settings: unknown): TextPattern {
  const pattern = Setting.parse(settings);
  const split = { type: "Split", pattern, behavior: "Isolated" } as const;
  const find = matchesOf(new SplitPreTokenizer(split).pattern!);
  if ("String" in pattern) return find;
  return (text) => withinLimit(() => find(text), pattern.Regex, text);
}

/** Finds what a global regular expression matches. */
export function matchesOf(regex: RegExp): TextPattern {
  return (text) =>
    Array.from(
      text.matchAll(regex),
      (match) => [match.index, match.index + match[0].length],
    );
}

/** Calls a function, with a time limit. */
type TimedCall = (work: () => unknown) => unknown;

let timedCall: TimedCall | undefined;

function newTimedCall(): TimedCall {
  // Loaded here, since most tokenizers do not need it.
  const vm = globalThis.process.getBuiltinModule("node:vm");
  const script = new vm.Script("work()");
  const context = vm.createContext({});
  return (work) => {
    context.work = work;
    return script.runInContext(context, { timeout: LIMIT });
  };
}

/**
 * Calls a function with a time limit, which V8 enforces inside a regular
 * expression too.
 */
function withinLimit<T>(work: () => T, regex: string, text: string): T {
  timedCall ??= newTimedCall();
  try {
    return timedCall(work) as T;
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") {
      throw error;
    }
    const what = `The regular expression ${JSON.stringify(regex)}`;
    const seconds = LIMIT / 1000;
    throw new RangeError(
      `${what} takes more than ${seconds} seconds for a text of ${text.length} characters`,
      { cause: error },
    );
  }
}
