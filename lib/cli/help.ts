import type { Option, Usage } from "./arguments.ts";
import { wrap } from "./render/words.ts";

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
