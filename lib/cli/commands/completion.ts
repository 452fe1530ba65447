import type { Task } from "../../pipeline/task.ts";
import {
  Arguments,
  type Command,
  command,
  type Commands,
  type Option,
  optionsOf,
  tokensOf,
  UsageError,
} from "../arguments/arguments.ts";
import { openPipeline, pipelineNames } from "../arguments/open_pipeline.ts";
import {
  PROGRAM,
  PROJECT,
  quoted,
  readProject,
  TASKS,
  tasksOf,
} from "../arguments/options.ts";
import { writeOut } from "../terminal/renderer.ts";

const completion = command`
  completion bash|zsh|fish

  Print a script that makes a shell complete the arguments of "deno task" in this project: commands and their options, and the names of pipelines, stages, parameters and profiles. Completion in other folders and of other deno commands does not change.

  Examples:
  bash >> ~/.bashrc  Install it for bash
  zsh >> ~/.zshrc  Install it for zsh, after compinit
  fish > ~/.config/fish/conf.d/dylora.fish  Install it for fish
`(async ({ positionals }, commands) => {
  const [shell, ...words] = positionals;
  // The scripts call this for the words after "deno task".
  if (shell === "words") {
    for (const [word, about] of await candidates(words, commands)) {
      const line = `${word}\t${about.replaceAll(/\s+/g, " ")}`;
      writeOut(`${line.replace(/\t$/, "")}\n`);
    }
    return;
  }
  const script = Object.hasOwn(SCRIPTS, shell!) ? SCRIPTS[shell!] : undefined;
  if (script === undefined || words.length > 0) {
    throw new UsageError(
      `Unknown shell "${positionals.join(" ")}"; expected bash, zsh or fish`,
    );
  }
  const command = [Deno.execPath(), ...PROGRAM, "completion", "words", "--"];
  const text = script(PROJECT, command.map(quoted).join(" "));
  writeOut(`# Completes "deno task" in ${PROJECT}\n${text}`);
});

export const completionCommand: Command = {
  ...completion,
  // The words of an unfinished line follow.
  positionals: { min: 1, max: Infinity },
};

export const schemaCommand = command`
  schema

  Print the JSON Schema of pipeline files, including the parameters of every task, for completion and validation in editors. Save it to a file, and name that file in the first line of a pipeline: # yaml-language-server: $schema=FILE

  Options:
  ${TASKS}

  Examples:
  > out/pipeline.schema.json  Write the schema to a file
`(async (args) => writeOut(await schemaText(tasksOf(args))));

/** The JSON Schema of pipelines whose tasks are in a folder. */
export async function schemaText(folderOfTasks: string): Promise<string> {
  const [{ pipelineJsonSchema }, { TaskFolder }] = await Promise.all([
    import("../../pipeline/json_schema.ts"),
    import("../../pipeline/load_task.ts"),
  ]);
  const folder = new TaskFolder(folderOfTasks);
  const tasks = new Map<string, Task>();
  for (const name of folder.names()) {
    const found = await folder.find(name);
    if ("problem" in found) throw new Error(found.problem);
    tasks.set(name, found.task);
  }
  const schema = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...pipelineJsonSchema(tasks),
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

type Candidate = readonly [word: string, meaning: string];

/**
 * Candidates for the last word.
 *
 * @param words Words after `deno task`, without quotes; the last one is being typed.
 */
export async function candidates(
  words: readonly string[],
  commands: Commands,
): Promise<readonly Candidate[]> {
  const typed = words.at(-1) ?? "";
  try {
    const found = await allCandidates(words.slice(0, -1), typed, commands);
    return found.filter(([word]) => word.startsWith(typed));
  } catch (error) {
    // A completion cannot show errors, such as those of an invalid pipeline.
    if (/^(Pipeline|Usage)Error$/.test((error as Error).name)) {
      return [];
    }
    throw error;
  }
}

async function allCandidates(
  [name, ...before]: readonly string[],
  typed: string,
  commands: Commands,
): Promise<readonly Candidate[]> {
  if (name === undefined) return readProject().summaries;
  if (!Object.hasOwn(commands, name)) return [];
  const command = await commands[name]!();
  // "--" may become an option.
  const words = [...before, typed === "--" ? "-" : typed];
  const tokens = [...tokensOf(command, words)];
  const { option, value } = tokens.pop()!;
  const given = Map.groupBy(tokens, ({ option }) => option?.name ?? "");
  const args = new Arguments(
    tokens.flatMap(({ word, name }) => name === undefined ? word : []),
    new Map(
      [...given].map((
        [name, of],
      ) => [name, of.flatMap((it) => it.value ?? [])]),
    ),
  );
  if (option?.value !== undefined && value !== undefined) {
    const start = typed.slice(0, typed.length - value.length);
    const found = await valuesOf(option, args, value);
    return found.map(([word, about]) => [start + word, about]);
  }
  return typed.startsWith("-")
    ? optionsOf(command).map((it) => [`--${it.name}`, it.description])
    : await positionalsOf(command, args, typed);
}

/** Candidates for the value of an option; none where the shell completes file names. */
async function valuesOf(
  { name, choices }: Option,
  args: Arguments,
  typed: string,
): Promise<readonly Candidate[]> {
  if (choices !== undefined) return choices.map((word) => [word, ""]);
  const [pipeline] = args.positionals;
  if (pipeline === undefined || !["set", "profile"].includes(name)) return [];
  const { outlineOf } = await import("./pipeline_help.ts");
  const { parameters, profiles } = await outlineOf(pipeline, tasksOf(args));
  if (name === "profile") {
    return Object.entries(profiles)
      .map(([word, changes]) => [word, JSON.stringify(changes)]);
  }
  // After a "=", the present value, for editing.
  return typed.includes("=")
    ? parameters.filter(({ value }) => typeof value !== "object")
      .map(({ name, value }) => [`${name}=${value}`, ""])
    : parameters.map(({ name, description, value }) => [
      `${name}=`,
      description || JSON.stringify(value),
    ]);
}

/** Pipelines, stages, or the words that the usage lists. */
async function positionalsOf(
  { usage }: Command,
  args: Arguments,
  typed: string,
): Promise<readonly Candidate[]> {
  const place = args.positionals.length;
  const [first = ""] = usage.split(" ");
  if (place === 0 && /^[a-z|]+$/.test(first)) {
    return first.split("|").map((word) => [word, ""]);
  }
  if (!usage.replace("[", "").startsWith("PIPELINE")) return [];
  if (place === 0) return pipelineNames().map((word) => [word, "pipeline"]);
  const takesStage = usage.includes("STAGE...") ||
    usage.includes("STAGE") && place === 1;
  if (!takesStage) return [];
  const { graph } = await openPipeline(args, []);
  const stages = [...graph.stages.values()];
  const names = new Map(stages.map(({ name, task }) => [name, task]));
  // Ids once a name is complete.
  return typed.includes("@") || names.has(typed)
    ? stages.map(({ id, task }) => [id, task])
    : [...names];
}

/**
 * The scripts by shell. Each asks for the candidates of the words after
 * `deno task` if the current folder belongs to the project.
 *
 * - bash splits words at `=`, `:` and `@`, so the script splits the line at
 *   blanks itself, and removes from each candidate the part that bash treats as
 *   earlier words.
 * - No blank is added after a candidate that ends with `=`.
 */
const SCRIPTS: Readonly<
  Record<string, (project: string, command: string) => string>
> = {
  bash: (project, command) =>
    `_dylora_before=$(complete -p deno 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
[[ $_dylora_before != _dylora ]] && _dylora_deno=$_dylora_before
_dylora() {
  local line words typed candidate
  line=\${COMP_LINE:0:COMP_POINT}
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  if [[ "$(pwd -P)/" != ${quoted(project)}/* || \${words[1]} != task ]] ||
    ((\${#words[@]} < 3)); then
    [[ -n $_dylora_deno ]] && "$_dylora_deno" "$@"
    return
  fi
  typed=\${words[\${#words[@]}-1]}
  local start=\${typed%"\${typed##*[\${COMP_WORDBREAKS//[[:space:]]/}]}"}
  # A word that is completed begins with its "@".
  start=\${start%@}
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    [[ $candidate == *= ]] && compopt -o nospace
    COMPREPLY+=("\${candidate#"$start"}")
  done < <(${command} "\${words[@]:2}" 2>/dev/null)
}
complete -o default -F _dylora deno
`,
  zsh: (project, command) =>
    `[[ \${_comps[deno]:-} != _dylora ]] && _dylora_deno=\${_comps[deno]:-}
_dylora() {
  if [[ "\${PWD:A}/" != ${quoted(project)}/* || \${words[2]} != task ]] ||
    ((CURRENT < 3)); then
    [[ -n $_dylora_deno ]] && "$_dylora_deno" "$@"
    return
  fi
  local -a found=(\${(f)"$(${command} "\${(@)words[3,CURRENT]}" 2>/dev/null)"})
  local -a open=(\${(M)found:#*=(|$'\\t'*)}) plain=(\${found:#*=(|$'\\t'*)})
  local -a openabout=("\${(@)open/$'\\t'/  -- }") plainabout=("\${(@)plain/$'\\t'/  -- }")
  if ((\${#found} == 0)); then _files; return; fi
  compadd -l -d plainabout -- "\${(@)plain%%$'\\t'*}"
  compadd -l -S '' -d openabout -- "\${(@)open%%$'\\t'*}"
}
compdef _dylora deno
`,
  fish: (project, command) =>
    `function __dylora_task
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = task
    and string match -q -- ${quoted(`${project}/*`)} (pwd -P)/
end
function __dylora_words
    set -l words (commandline -opc)
    set -e words[1..2]
    set -l found (${command} $words (commandline -ct) 2>/dev/null)
    if test (count $found) -eq 0
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c deno -n __dylora_task -f -a '(__dylora_words)'
`,
};
