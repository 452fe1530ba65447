/**
 * The settings of the last run of each pipeline, which later commands on it
 * take.
 */
import {
  isFull,
  isReadOnly,
  readIfThere,
  statIfThere,
  writeDurably,
} from "../../files/files.ts";
import {
  basename,
  dirname,
  join,
  relativeIfBelow,
  resolve,
} from "../../files/paths.ts";
import { shellWord } from "../../files/shell_word.ts";
import { Arguments, readOptions, UsageError } from "./arguments.ts";
import {
  givenWords,
  KEY_OPTIONS,
  outOf,
  OWN_DATA,
  PROJECT,
} from "./options.ts";

/** What is kept of a run, as JSON. */
interface LastRun {
  /** Absolute path of the pipeline's file. */
  readonly file: string;
  /** Those of {@linkcode KEY_OPTIONS} that it had, with their values. */
  readonly options: readonly (readonly [
    name: string,
    values: readonly string[],
  ])[];
}

const DEFAULT_OUT = join(PROJECT, "out");

/**
 * Keeps the options of a run for {@linkcode asLastRun}: in its output folder,
 * and for a pipeline of the project also in the default one, where commands
 * without `--out` look.
 */
export function keepRun(args: Arguments): void {
  const out = outOf(args);
  const file = pipelineFile(args.positionals[0]!);
  const options = readOptions(KEY_OPTIONS)
    .filter(({ name }) => args.has(name))
    .map(({ name }) => {
      const values = name === "out" ? [out] : args.values(name);
      return [name, values] as const;
    });
  const run: LastRun = { file, options };
  const name = args.value("name");
  const isOfProject = relativeIfBelow(PROJECT, file) !== file;
  const folders = new Set(isOfProject ? [out, DEFAULT_OUT] : [out]);
  for (const folder of folders) {
    const paths = [pathOf(folder, file, undefined)];
    if (name !== undefined) paths.push(pathOf(folder, file, name));
    try {
      for (const path of paths) {
        Deno.mkdirSync(dirname(path), { recursive: true });
        writeDurably(path, JSON.stringify(run));
      }
    } catch (error) {
      // The run itself needs no other folder than its own.
      const isNeeded = folder === out;
      if (isNeeded || !isReadOnly(error) && !isFull(error)) throw error;
    }
  }
}

/**
 * The arguments with the options of the last run of their pipeline, which are
 * printed, if they select no parameters themselves.
 *
 * @returns The same arguments if there is no such run, or they give `-S` or
 * `--profile`.
 */
export function asLastRun(args: Arguments): Arguments {
  const [pipeline] = args.positionals;
  // With --adapter, the positional arguments are texts.
  const names = ["set", "profile", "adapter"];
  if (pipeline === undefined || names.some((name) => args.has(name))) {
    return args;
  }
  const file = pipelineFile(pipeline);
  const text = readIfThere(pathOf(outOf(args), file, args.value("name")));
  if (text === undefined) return args;
  const run: LastRun = JSON.parse(text);
  const options = new Map(run.options);
  const [out] = options.get("out") ?? [];
  const isGone = out !== undefined && statIfThere(out) === undefined;
  if (run.file !== file || isGone) return args;
  const taken = new Map(
    [...options].filter(([name]) => !args.has(name)),
  );
  const words = givenWords(new Arguments([], taken));
  if (words.length > 0) {
    console.error(`As in the last run: ${words.map(shellWord).join(" ")}`);
  }
  return new Arguments(
    args.positionals,
    new Map([...taken, ...args.options]),
  );
}

/**
 * Checks that a new run of own data names a file.
 *
 * @throws {UsageError} If it does not.
 */
export function checkOwnData(args: Arguments): void {
  const isNamed = args.values("set").some((it) => it.startsWith("train="));
  if (args.positionals[0] !== OWN_DATA || isNamed) return;
  throw new UsageError(
    "Pipeline own-data needs a file: -S train=FILE, and -S text=COLUMN and -S label=COLUMN to name its columns",
  );
}

/** The absolute path of a pipeline that is given as a file or by its name. */
function pipelineFile(nameOrFile: string): string {
  return /[\\/]|\.ya?ml$/.test(nameOrFile)
    ? resolve(Deno.cwd(), nameOrFile)
    : join(PROJECT, "pipelines", `${nameOrFile}.yaml`);
}

/**
 * Where an output folder keeps the last run of a pipeline, or that with a
 * `--name`.
 */
function pathOf(out: string, file: string, name: string | undefined): string {
  const pipeline = basename(file).replace(/\.ya?ml$/, "");
  const kept = name === undefined ? pipeline : `${pipeline}@${name}`;
  return join(out, "cache/commands", `${kept}.json`);
}
