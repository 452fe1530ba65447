import { parseArgs } from "node:util";
import { didYouMean } from "../pipeline/suggest.ts";

/** What the exit codes of the command line mean. */
export const EXIT = {
  fine: 0,
  /** A stage failed, or something unforeseen happened. */
  failed: 1,
  /** Wrong arguments, or a wrong pipeline file. */
  usage: 2,
  /** Another process runs a stage or holds what it needs, with `--no-wait`. */
  busy: 3,
  /** `cache verify` found damage. */
  corrupt: 4,
  /** A stage ended without its output. */
  outputMissing: 5,
  /** There is work to do, with `plan --exit-code`. */
  workToDo: 10,
  /** The terminal is gone. */
  hungUp: 129,
  /** Interrupted by Ctrl-C. */
  interrupted: 130,
  /** Ended by another process. */
  terminated: 143,
} as const;

/** Wrong arguments. The message says which, and what would be right. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** An option of a command: `--jobs N`, or `--force` without a value. */
export interface Option {
  readonly name: string;
  /** One letter: `-S`. */
  readonly short?: string;
  /** What its value is called in the help; absent if it takes none. */
  readonly value?: string;
  /** The values that it takes, if these can be listed. */
  readonly choices?: readonly string[];
  /** True if it may be given more than once. */
  readonly many?: boolean;
  readonly description: string;
}

/** What a command is called with. */
export interface Usage {
  readonly name: string;
  /** Its arguments: `PIPELINE [STAGE...]`. */
  readonly usage: string;
  /** One sentence, then whatever else is to be known. */
  readonly description: string;
  readonly options: readonly Option[];
  /** Arguments, and what they do. */
  readonly examples: readonly (readonly [args: string, what: string])[];
  /** How many arguments it takes besides options. */
  readonly takes: { readonly least: number; readonly most: number };
}

/** A command: what it is called with, and what it does. */
export interface Command extends Usage {
  /** Does the work; resolves to the exit code. */
  readonly run: (given: Given) => Promise<number>;
}

/** Arguments that a command was given, checked against its options. */
export class Given {
  constructor(
    readonly positionals: readonly string[],
    readonly options: ReadonlyMap<string, readonly string[]>,
  ) {}

  has(name: string): boolean {
    return this.options.has(name);
  }

  /** The value of an option that is given once at most. */
  value(name: string): string | undefined {
    return this.options.get(name)?.at(-1);
  }

  values(name: string): readonly string[] {
    return this.options.get(name) ?? [];
  }

  /**
   * The value of an option as a whole number.
   *
   * @throws {UsageError} If it is none, or less than `least`.
   */
  number(name: string, least: number): number | undefined {
    const text = this.value(name);
    if (text === undefined) return undefined;
    const number = Number(text);
    if (!/^\d+$/.test(text) || number < least) {
      throw new UsageError(
        `Option "--${name}" takes a whole number from ${least}, not "${text}"`,
      );
    }
    return number;
  }
}

/**
 * Reads the arguments of a command.
 *
 * @throws {UsageError} If they are not what it takes.
 */
export function readArguments(
  command: Usage,
  args: readonly string[],
): Given {
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      command.options.map(({ name, short, value }) => [name, {
        type: value === undefined ? "boolean" : "string",
        ...(short !== undefined && { short }),
      }]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    const option = command.options.find((it) => it.name === name);
    if (option === undefined) throw unknownOption(rawName, command);
    if (option.value === undefined) {
      if (value !== undefined) {
        throw new UsageError(`Option "${rawName}" takes no value`);
      }
      given.set(name, []);
      continue;
    }
    const missing = value === undefined || value === "" ||
      (!inlineValue && value.startsWith("-") && value.length > 1);
    if (missing) {
      throw new UsageError(
        `Option "${rawName}" needs a value: ${option.value}`,
      );
    }
    if (option.choices !== undefined && !option.choices.includes(value)) {
      const hint = didYouMean(value, option.choices) ||
        `; it takes ${option.choices.map((it) => `"${it}"`).join(", ")}`;
      throw new UsageError(
        `Option "${rawName}" does not take "${value}"${hint}`,
      );
    }
    const before = given.get(name) ?? [];
    if (before.length > 0 && option.many !== true) {
      throw new UsageError(`Option "${rawName}" is given twice`);
    }
    given.set(name, [...before, value]);
  }
  const { least, most } = command.takes;
  if (!given.has("help")) {
    const count = positionals.length;
    if (count < least) {
      throw new UsageError(`"${command.name}" needs ${command.usage}`);
    }
    if (count > most) {
      throw new UsageError(`Unexpected argument "${positionals[most]}"`);
    }
  }
  return new Given(positionals, given);
}

function unknownOption(rawName: string, { options }: Usage): UsageError {
  const known = options.flatMap(({ name, short }) => [
    `--${name}`,
    ...(short === undefined ? [] : [`-${short}`]),
  ]);
  return new UsageError(
    `Unknown option "${rawName}"${didYouMean(rawName, known)}`,
  );
}

/** Width that help texts are made for. */
const WIDTH = 80;

/** The help text of a command. */
export function helpOf(command: Usage): string {
  const { name, usage, description, options, examples } = command;
  const rows = options.map((option) =>
    [flagsOf(option), textOf(option)] as const
  );
  return [
    `Usage: deno task ${name} ${usage} [OPTION...]`,
    "",
    ...wrap(description, WIDTH),
    "",
    "Options:",
    ...columns(rows),
    "",
    "Examples:",
    ...examples.flatMap(([args, what]) => [
      `  deno task ${name} ${args}`.trimEnd(),
      `      ${what}`,
    ]),
  ].join("\n");
}

/** The help text of the program. */
export function helpOfAll(
  commands: readonly (readonly [name: string, summary: string])[],
): string {
  return [
    "Usage: deno task COMMAND [ARGUMENT...]",
    "",
    "Commands:",
    ...columns(commands),
    "",
    "deno task COMMAND --help says more of a command.",
  ].join("\n");
}

function flagsOf({ name, short, value }: Option): string {
  const flag = short === undefined ? `--${name}` : `-${short}, --${name}`;
  return value === undefined ? flag : `${flag} ${value}`;
}

function textOf({ description, many }: Option): string {
  return many === true ? `${description}; may be repeated` : description;
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows.flatMap(([left, right]) => {
    const [first = "", ...rest] = wrap(right, WIDTH - width);
    return [
      `  ${left}`.padEnd(width) + first,
      ...rest.map((line) => " ".repeat(width) + line),
    ];
  });
}

/** Breaks a text into lines at spaces; line breaks in it stay. */
export function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > width) {
        lines.push(line);
        line = "";
      }
      line = line === "" ? word : `${line} ${word}`;
    }
    return [...lines, line];
  });
}
