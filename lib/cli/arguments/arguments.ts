/** Exit codes of the command line. */
export const EXIT = {
  success: 0,
  /** A stage failed, or an unexpected error occurred. */
  failed: 1,
  /** Invalid arguments or an invalid pipeline file. */
  usage: 2,
  /** With `--no-wait`: another process runs a stage or holds what it needs. */
  busy: 3,
  /** `cache verify` found damaged files. */
  corrupt: 4,
  /** A stage ended without writing its output. */
  outputMissing: 5,
  /** With `plan --exit-code`: there is work to do. */
  workToDo: 10,
  /** Interrupted by SIGHUP: the terminal was closed. */
  hungUp: 129,
  /** Interrupted by SIGINT: Ctrl-C. */
  interrupted: 130,
  terminated: 143,
} as const;

/**
 * Invalid arguments. The message names the argument, its value and the remedy.
 */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * An option of a command: `--jobs N`, or a flag without a value such as
 * `--force`.
 */
export interface Option {
  readonly name: string;
  /** One letter: `-S`. */
  readonly short?: string;
  /** Placeholder of the value in the help text; absent for a flag. */
  readonly value?: string;
  /** The valid values, if there are only a few. */
  readonly choices?: readonly string[];
  /** True if the option may be repeated. */
  readonly many?: boolean;
  /** True if the value may be left out; it is then empty. */
  readonly optional?: boolean;
  readonly description: string;
}

/**
 * Reads options as the help text shows them, one a line, with two blanks before
 * what it does:
 *
 *     -f, --force  Run again
 *     -S, --set KEY=VALUE...  An option that may be repeated
 *     --remote [URL]  An option whose value may be left out
 *     --engine NAME{auto,wasm}  An option with few valid values
 */
export function readOptions(text: string): Option[] {
  return text.split("\n").map((line) => line.trim()).filter((it) => it !== "")
    .map((line) => {
      const { short, name, optional, value, choices, many, description } =
        /^(?:-(?<short>\w), )?--(?<name>[\w-]+)(?: (?<optional>\[?)(?<value>[^\]{ ]+?)\]?(?:{(?<choices>.*?)})?(?<many>\.\.\.)?)? {2,}(?<description>.*)$/
          .exec(line)!.groups!;
      return {
        name: name!,
        ...(short && { short }),
        ...(value && { value }),
        ...(choices && { choices: choices.split(",") }),
        ...(many && { many: true }),
        ...(optional && { optional: true }),
        description: description!,
      };
    });
}

const HELP: Option = {
  name: "help",
  short: "h",
  description: "Show this help",
};

/** The arguments that a command accepts. */
export interface CommandSyntax {
  readonly name: string;
  /** Positional arguments: `PIPELINE [STAGE...]`. */
  readonly usage: string;
  /** One sentence, then any details. */
  readonly description: string;
  /** Its options besides `--help`. */
  readonly options: readonly Option[];
  /** Arguments, and what they do. */
  readonly examples: readonly (readonly [args: string, effect: string])[];
  readonly positionals: { readonly min: number; readonly max: number };
}

/** A command of the command line. */
export interface Command extends CommandSyntax {
  /** Runs the command; resolves to the exit code, 0 if undefined. */
  readonly run: (args: Arguments) => Promise<number | void>;
  /**
   * Help for what the arguments name; undefined to print the command's own
   * help.
   */
  readonly help?: (args: Arguments) => Promise<string | undefined>;
}

/**
 * Declares a command by its help text, and what runs it: the usage, what it
 * does, its options (see {@linkcode readOptions}), and examples with two blanks
 * before their effect.
 *
 *     logs PIPELINE STAGE
 *
 *     Print the log of a stage.
 *
 *     Options:
 *     -f, --follow  Keep printing while the stage runs
 *
 *     Examples:
 *     smoke train  Print what the stage logged
 */
export function command(
  text: TemplateStringsArray,
  ...values: readonly string[]
): (run: Command["run"], help?: Command["help"]) => Command {
  const [, name, usage, description, options, examples] =
    /^(\S+) ?(.*)\n\n([^]*?)(?:\n\nOptions:\n([^]*))?\n\s*Examples:\n([^]*)$/
      .exec(String.raw(text, ...values).trim().replaceAll(/\n +/g, "\n"))!;
  const positionals = usage!.replace(/--.*/, "");
  const count = (words: string) => words.match(/\S+/g)?.length ?? 0;
  const max = positionals.includes("...") ? Infinity : count(positionals);
  return (run, help) => ({
    name: name!,
    usage: usage!,
    description: description!,
    options: readOptions(options ?? ""),
    examples: examples!.split("\n").map((line) => {
      const [args, effect] = line.split(/ {2,}/);
      return effect === undefined ? ["", args!] : [args!, effect];
    }),
    positionals: { min: count(positionals.replace(/\[.*\]/, "")), max },
    run,
    ...(help && { help }),
  });
}

/** The commands by name, and how each is loaded. */
export type Commands = Readonly<Record<string, () => Promise<Command>>>;

/** Parsed arguments of a command, checked against its options. */
export class Arguments {
  constructor(
    readonly positionals: readonly string[],
    readonly options: ReadonlyMap<string, readonly string[]>,
  ) {}

  has(name: string): boolean {
    return this.options.has(name);
  }

  /** The value of an option that is not repeatable. */
  value(name: string): string | undefined {
    return this.options.get(name)?.at(-1);
  }

  values(name: string): readonly string[] {
    return this.options.get(name) ?? [];
  }

  with(name: string, values: readonly string[]): Arguments {
    return new Arguments(
      this.positionals,
      new Map([...this.options, [name, values]]),
    );
  }

  without(...names: readonly string[]): Arguments {
    const others = [...this.options].filter(([name]) => !names.includes(name));
    return new Arguments(this.positionals, new Map(others));
  }

  words(): string[] {
    const options = [...this.options].flatMap(([name, values]) =>
      values.length === 0
        ? [`--${name}`]
        : values.map((value) => `--${name}=${value}`)
    );
    return [...options, "--", ...this.positionals];
  }

  /**
   * The value of an option as an integer.
   *
   * @throws {UsageError} If the value is not an integer from `min` to `max`.
   */
  integer(name: string, min: number, max = Infinity): number | undefined {
    const text = this.value(name);
    if (text === undefined) return undefined;
    const number = Number(text);
    if (/^\d+$/.test(text) && number >= min && number <= max) return number;
    const range = max < Infinity ? `${min} to ${max}` : `at least ${min}`;
    throw invalidValue(name, text, `expected an integer of ${range}`);
  }
}

/** The error for an option whose value is invalid. */
export function invalidValue(
  name: string,
  value: string,
  expected: string,
): UsageError {
  return new UsageError(
    `Invalid value "${value}" for option "--${name}": ${expected}`,
  );
}

/**
 * Parses the arguments of a command.
 *
 * @throws {UsageError} If the command does not accept them.
 */
export async function readArguments(
  command: CommandSyntax,
  args: readonly string[],
): Promise<Arguments> {
  // Without options, the parser is not loaded: Deno checks node_modules first,
  // which takes 5 ms.
  const parsed = args.some((it) => it.startsWith("-"))
    ? await parse(args, optionsOf(command))
    : new Arguments(args, new Map());
  const { positionals: { min, max }, usage, name } = command;
  if (parsed.has("help")) return parsed;
  const { positionals } = parsed;
  if (positionals.length < min) {
    throw new UsageError(`Missing arguments: deno task ${name} ${usage}`);
  }
  if (positionals.length > max) {
    throw new UsageError(`Unexpected argument "${positionals[max]}"`);
  }
  return parsed;
}

async function parse(
  args: readonly string[],
  options: readonly Option[],
): Promise<Arguments> {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const words: string[] = [];
  for (const [i, word] of args.slice(0, end).entries()) {
    words.push(...await inFull(word, args[i + 1] ?? "--", options));
  }
  const { flags = [], valued = [] } = Object.groupBy(
    options,
    ({ value }) => value === undefined ? "flags" : "valued",
  );
  const isFlag = (word: string) =>
    flags.some(({ name }) => word === `--${name}`);
  const names = valued.map(({ name }) => name);
  const { parseArgs } = await import("@std/cli/parse-args");
  const parsed = parseArgs([
    ...words.filter((word) => !isFlag(word)),
    // Last, as it takes a "true" behind a flag for its value.
    ...words.filter(isFlag),
    ...args.slice(end),
  ], {
    boolean: flags.map(({ name }) => name),
    string: ["_", ...names],
    collect: names,
  });
  const byName = new Map<string, readonly string[]>();
  for (const { name } of flags) if (parsed[name]) byName.set(name, []);
  for (const option of valued) {
    const { name, value, many, optional } = option;
    const values = parsed[name] as string[];
    if (values.includes("") && !optional) {
      throw new UsageError(
        `Option "--${name}" requires a value: --${name} ${value}`,
      );
    }
    for (const text of values) await checkChoice(option, text);
    if (values.length > 1 && !many) {
      throw new UsageError(`Option "--${name}" can be given only once`);
    }
    if (values.length > 0) byName.set(name, values);
  }
  return new Arguments(parsed._, byName);
}

/**
 * Writes the options in a word in full: `-fj4` as `--force --jobs=4`, since
 * `parseArgs()` would take only `b` of `-Sa=b`. A value that is missing is
 * empty.
 *
 * @param next The next word.
 * @throws {UsageError} If there is no such option, or a flag has a value.
 */
async function inFull(
  word: string,
  next: string,
  options: readonly Option[],
): Promise<string[]> {
  if (!/^-./s.test(word)) return [word];
  const missing = next.startsWith("-") ? "=" : "";
  if (word.startsWith("--")) {
    const name = word.slice(2).split("=", 1)[0]!;
    const option = options.find((it) => it.name === name);
    if (option === undefined) {
      throw await unknownOption(`--${name}`, word, options);
    }
    if (!word.includes("=")) {
      return [option.value === undefined ? word : word + missing];
    }
    if (option.value !== undefined) return [word];
    const value = word.slice(name.length + 3);
    throw new UsageError(
      `Option "--${name}" does not take a value, got "${value}"`,
    );
  }
  const words: string[] = [];
  for (let i = 1; i < word.length; i++) {
    const option = options.find(({ short }) => short === word[i]);
    if (option === undefined) {
      throw await unknownOption(`-${word[i]}`, word, options);
    }
    const value = word.slice(i + 1);
    if (option.value === undefined) words.push(`--${option.name}`);
    else {
      words.push(`--${option.name}${value === "" ? missing : `=${value}`}`);
      break;
    }
  }
  return words;
}

async function unknownOption(
  name: string,
  word: string,
  options: readonly Option[],
): Promise<UsageError> {
  const { didYouMean } = await import("../../pipeline/did_you_mean.ts");
  // The letters of "-force" are the word "--force".
  const meant = name.startsWith("--") ? name : `-${word}`;
  const hint = didYouMean(meant, options.map(({ name }) => `--${name}`));
  return new UsageError(`Unknown option "${name}"${hint}`);
}

/**
 * @throws {UsageError} If the option has few valid values, and this is none of
 * them.
 */
async function checkChoice(
  { name, choices, optional }: Option,
  value: string,
): Promise<void> {
  if (choices === undefined || choices.includes(value)) return;
  if (optional && value === "") return;
  const { didYouMean } = await import("../../pipeline/did_you_mean.ts");
  const names = choices.map((it) => `"${it}"`).join(", ");
  const hint = didYouMean(value, choices);
  throw invalidValue(name, value, `expected one of ${names}${hint}`);
}

/** The options of a command, `--help` included. */
function optionsOf({ options }: CommandSyntax): Option[] {
  return [...options, HELP];
}

/**
 * A text whose commands start as the user's did: under npx, no PATH has `deno`.
 */
export function asTyped(text: string): string {
  if (Deno.env.get("npm_lifecycle_event") !== "npx") return text;
  const npx = `npx -y deno@${Deno.version.deno}`;
  return text.replaceAll(/\bdeno task (?=[\w.])/g, `${npx} task `);
}

/** Width of help texts in columns. */
export const WIDTH = 80;

/** The help text of a command. */
export function helpOf(command: CommandSyntax): string {
  const { name, usage, description, examples } = command;
  const rows = optionsOf(command).map((option) => {
    const letter = option.short === undefined ? "" : `-${option.short}, `;
    const flags = `${letter}--${option.name} ${option.value ?? ""}`.trimEnd();
    const more = option.many === true ? "; may be repeated" : "";
    return [flags, option.description + more] as const;
  });
  return [
    `Usage: deno task ${name} ${usage} [OPTION...]`.replace("  ", " "),
    "",
    ...wrap(description, WIDTH),
    "",
    "Options:",
    ...columns(rows),
    "",
    "Examples:",
    ...examples.flatMap(([args, effect]) => [
      `  deno task ${name} ${args}`.trimEnd(),
      `      ${effect}`,
    ]),
  ].join("\n");
}

/** The help text of the command line as a whole. */
export function helpOfAll(
  commands: readonly (readonly [name: string, summary: string])[],
): string {
  return [
    "Usage: deno task COMMAND [ARGUMENT...]",
    "",
    "Commands:",
    ...columns(commands),
    "",
    'Run "deno task COMMAND --help" for the options and examples of a command.',
  ].join("\n");
}

/**
 * Formats rows as two columns within {@linkcode WIDTH}; the second one is
 * wrapped.
 */
export function columns(
  rows: readonly (readonly [string, string])[],
): string[] {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows.flatMap(([left, right]) => {
    const [first = "", ...rest] = wrap(right, WIDTH - width);
    return [
      `  ${left}`.padEnd(width) + first,
      ...rest.map((line) => " ".repeat(width) + line),
    ];
  });
}

/**
 * Wraps a text at spaces into lines of at most `width` characters; keeps its
 * line breaks and their indents, and commands, which could not be copied.
 */
export function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    if (/^ {2}(log|run): /.test(paragraph)) return paragraph;
    const lines: string[] = [];
    const [indent] = /^ */.exec(paragraph)!;
    let line = indent;
    for (const word of paragraph.slice(indent.length).split(" ")) {
      if (line !== indent && line.length + 1 + word.length > width) {
        lines.push(line);
        line = indent;
      }
      line += line === indent ? word : ` ${word}`;
    }
    return [...lines, line];
  });
}
