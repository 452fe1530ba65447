import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import type { Commands } from "../../../lib/cli/arguments/arguments.ts";
import { candidates } from "../../../lib/cli/commands/completion.ts";
import { callHere, CliProject } from "../project.ts";

const CLI = "../../../lib/cli/commands";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

const COMMANDS: Commands = {
  pipeline: async () => (await import(`${CLI}/pipeline.ts`)).pipelineCommand,
  plan: async () => (await import(`${CLI}/plan.ts`)).planCommand,
  logs: async () => (await import(`${CLI}/logs.ts`)).logsCommand,
  cache: async () => (await import(`${CLI}/cache.ts`)).cacheCommand,
  init: async () => (await import(`${CLI}/init.ts`)).initCommand,
};

/** The words that complete a command line. */
async function completing(...words: readonly string[]): Promise<string[]> {
  return (await candidates(words, COMMANDS)).map(([word]) => word);
}

Deno.test("completion offers commands, pipelines, stages, parameters, profiles and options", async () => {
  const offered: readonly (readonly [string[], string[]])[] = [
    [["pip"], ["pipeline"]],
    [["pipeline", "glue-m"], ["glue-mini"]],
    [["pipeline", "smoke", "train-"], ["train-dylora", "train-lora"]],
    [["logs", "smoke", "train-dylora"], ["train-dylora@sst2,seed=0"]],
    [["pipeline", "smoke", "train-lora@sst2,seed=0,rank=8"], [
      "train-lora@sst2,seed=0,rank=8",
    ]],
    [["pipeline", "smoke", "-S", "train.l"], ["train.learningRate="]],
    [["pipeline", "smoke", "-S", "train.alpha="], ["train.alpha=16"]],
    [["plan", "glue-mini", "--profile", "qu"], ["quick"]],
    [["plan", "smoke", "--engine=w"], ["--engine=webgpu", "--engine=wasm"]],
    [["cache", "p"], ["pin", "push", "pull"]],
    [["pipeline", "--wat"], ["--watch"]],
    // Faults of the line are not for a completion to report.
    [["pipeline", "nothing-of-this-name", "-S", ""], []],
    [["no-command", ""], []],
    [["init", ""], []],
  ];
  const found = await Promise.all(
    offered.map(([words]) => completing(...words)),
  );
  assertEquals(found, offered.map(([, expected]) => expected));
  const first = await completing("");
  assert(first.includes("pipeline") && first.includes("ok"));
});

Deno.test("completion of stages respects parameters that are set", async () => {
  using project = new CliProject(`name: test
params: { which: [a] }
stages:
  make: { task: make, matrix: { x: "\${params.which}" }, with: { text: "\${matrix.x}" } }
`);
  const file = project.path("test.yaml");
  const tasks = ["--tasks", project.path("tasks")];
  assertEquals(
    await completing("plan", file, ...tasks, "-S", "which=[b, c]", "make@"),
    ["make@b", "make@c"],
  );
});

/** Types words into a shell of its own in a terminal, a tab after each line, and prints the lines as the shell echoes them when it runs them. */
const TYPING = `
import os, pty, re, select, sys, time
shell, script, folder = sys.argv[1:4]
pid, terminal = pty.fork()
if pid == 0:
    os.chdir(folder)
    os.environ.update(PWD=folder, PS1="> ", TERM="dumb", HOME=os.environ["SHELL_HOME"])
    os.execvp(shell, [shell] + {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell])
def read(until, seconds):
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and until not in seen:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    return seen
# Its arguments are printed instead of running deno.
show = {"bash": 'deno() { printf "<%s>" "$@"; echo "|"; }', "zsh": 'deno() { printf "<%s>" "$@"; echo "|"; }',
  "fish": 'function deno; printf "<%s>" $argv; echo "|"; end'}[shell]
before = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u; ", "fish": ""}[shell]
os.write(terminal, (before + "source " + script + "; " + show + "; echo rea''dy\\n").encode())
assert b"ready" in read(b"ready", 60), "no prompt"
for line in sys.argv[4:]:
    os.write(terminal, (line + "\\t\\n").encode())
    seen = read(b">|", 60)
    found = re.findall(rb"((?:<[^<>\\r\\n]*>)+)\\|", seen)
    print(found[-1].decode() if found else "nothing in " + repr(seen))
os.write(terminal, b"exit\\n")
# It writes its history at the end.
try:
    while os.read(terminal, 65536): pass
except OSError: pass
os.waitpid(pid, 0)
`;

for (const shell of ["bash", "zsh", "fish"]) {
  const installed = new Deno.Command("sh", {
    args: ["-c", `command -v ${shell} && command -v python3`],
    stdout: "null",
  }).outputSync().success;
  if (!installed) console.log(`${shell} is not installed: its test is skipped`);
  Deno.test({
    name:
      `completion completes words in a real ${shell}, in a folder that is a link to the project`,
    ignore: !installed,
    async fn() {
      const home = await Deno.makeTempDir();
      try {
        const { stdout } = await callHere("completion", shell);
        const script = `${home}/completion`;
        await Deno.writeTextFile(script, stdout);
        const project = `${home}/project`;
        await Deno.symlink(ROOT, project);
        const typed = await new Deno.Command("python3", {
          args: [
            ...["-c", TYPING, shell, script, project],
            "deno task pipeline smok",
            "deno task logs smoke train-dylora@ss",
            "deno task pipeline smoke -S train.learn",
          ],
          env: { SHELL_HOME: home },
        }).output();
        assertEquals(
          new TextDecoder().decode(typed.stdout).trim().split("\n"),
          [
            "<task><pipeline><smoke>",
            "<task><logs><smoke><train-dylora@sst2,seed=0>",
            "<task><pipeline><smoke><-S><train.learningRate=>",
          ],
          new TextDecoder().decode(typed.stderr),
        );
      } finally {
        await Deno.remove(home, { recursive: true });
      }
    },
  });
}
