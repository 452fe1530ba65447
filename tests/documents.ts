/** The documents of the project, and the commands in them. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { callHere } from "./cli/project.ts";

/** Folder of the project. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Paths of all Markdown files for readers: README.md, RESULTS.md, .github/ and
 * so on.
 */
export function* documents(folder = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(root, folder))) {
    const isHidden = name.startsWith(".") && name !== ".github";
    if (["node_modules", "out"].includes(name) || isHidden) continue;
    const path = join(folder, name);
    if (isDirectory) yield* documents(path);
    else if (
      /^[A-Z_]+\.md$/.test(name) ||
      /^(\.github|pipelines\/results\/).*\.md$/.test(path)
    ) {
      yield path;
    }
  }
}

/** The text of a file below the root. */
export function textOf(path: string): string {
  return Deno.readTextFileSync(join(root, path));
}

/** Blocks of a language, without the fences. */
export function blocks(text: string, language: string): string[] {
  return [
    ...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms")),
  ]
    .map(([, block]) => block!);
}

/** Arguments of each `deno task` line of the shell blocks. */
export function commandsOf(text: string): string[][] {
  return blocks(text, "sh").flatMap((block) => block.trim().split("\n"))
    .flatMap((line) => {
      const [, command] =
        /^(?:npx -y deno@[\d.]+|deno) task (?:-q )?([^#]*)/.exec(line) ??
          [];
      return command === undefined
        ? []
        : [[...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((
          [, double, single, bare],
        ) => double ?? single ?? bare!)];
    });
}

/** Arguments with each of these texts replaced. */
export function replaceAll(
  args: readonly string[],
  replacements: readonly (readonly [string, string])[],
): string[] {
  return args.map((arg) =>
    replacements.reduce((arg, [from, to]) => arg.replaceAll(from, to), arg)
  );
}

/** Commands that were called in this process: documents share some. */
const done = new Set<string>();

/** Calls a command of a document that runs no stage, once. */
export async function reads(args: readonly string[]): Promise<void> {
  const command = args.join("\0");
  if (done.has(command)) return;
  done.add(command);
  const { code, stderr } = await callHere(...args);
  assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
}
