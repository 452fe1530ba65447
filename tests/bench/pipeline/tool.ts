import { join } from "node:path";
import { parentOf, stagesOf } from "./shape.ts";

/** A tool, and how it runs the pipeline. */
export interface Tool {
  readonly name: string;
  /** Writes the pipeline into an empty folder. */
  prepare(folder: string, count: number): void;
  /** The command that brings everything up to date, run in the folder. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Adds a comment to the code of stage 0. */
  comment(folder: string, round: number): void;
  /** Changes the code of stage 0 in a way that does not change its output. */
  edit(folder: string, round: number): void;
  /** Removes all outputs. */
  clean(folder: string): void;
  /** Number of stages that the last command ran. */
  ran(folder: string, output: string): number;
}

/** Path of a program that `setup.sh` installed. */
export function installed(tools: string, program: string): string {
  return join(tools, "bin", program);
}

/** Writes a script for each stage, which notes in `ran.log` that it ran. */
export function writeScripts(
  folder: string,
  count: number,
  place: (stage: number) => Scripted,
): void {
  Deno.writeTextFileSync(join(folder, "input.txt"), "input\n");
  for (const stage of stagesOf(count)) {
    const { script, input, output } = place(stage);
    Deno.mkdirSync(join(folder, script, ".."), { recursive: true });
    Deno.writeTextFileSync(
      join(folder, script),
      `cat ${input} > ${output}\necho ${stage} >> ${output}\necho ${stage} >> ${
        join(folder, "ran.log")
      }\n`,
    );
  }
}

/** Paths of a stage's script, input and output. */
export interface Scripted {
  /** Below the project's folder. */
  readonly script: string;
  readonly input: string;
  readonly output: string;
}

/** The usual places: `s3.sh`, `out/3.txt`. */
export function flat(stage: number): Scripted {
  const parent = parentOf(stage);
  return {
    script: `s${stage}.sh`,
    input: parent === undefined ? "input.txt" : `out/${parent}.txt`,
    output: `out/${stage}.txt`,
  };
}

/** Lines of `ran.log`, which is removed. */
export function takeRan(folder: string): number {
  const path = join(folder, "ran.log");
  try {
    const lines = Deno.readTextFileSync(path).split("\n").length - 1;
    Deno.removeSync(path);
    return lines;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

export function append(folder: string, path: string, text: string): void {
  Deno.writeTextFileSync(join(folder, path), text, { append: true });
}

export function removeOutputs(folder: string): void {
  Deno.removeSync(join(folder, "out"), { recursive: true });
}
