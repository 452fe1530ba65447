import type { Decision } from "../../scheduler/events.ts";
import type { Command } from "../arguments.ts";
import { EXIT } from "../exit.ts";
import { ENGINE, GPUS, GRAPH_OPTIONS, HELP, JSON_LINES } from "../options.ts";
import { printPlan } from "../print_plan.ts";

/** The states of stages, in words. */
const STATES: Readonly<Record<Decision["state"], string>> = {
  run: "the cache has no sound result of it, or it is forced",
  restore:
    "the cache has its result, and the output folder has another or none",
  unchanged: "the output folder has its result",
  unknown: "it reads what is still to be made, and may turn out unchanged",
  skip: "it is not asked for; told with --json only",
};

/** `deno task plan`: says what a run would do. */
export const command: Command = {
  name: "plan",
  usage: "PIPELINE [STAGE...]",
  description:
    `Say what "deno task pipeline" would do with the same stages, parameters and engine, and do nothing.

Each stage is in one of these states:
${
      Object.entries(STATES).map(([state, what]) =>
        `${state.padEnd(11)}${what}`
      ).join("\n")
    }`,
  options: [
    {
      name: "force",
      short: "f",
      description: "Plan as if with --force",
    },
    ...GRAPH_OPTIONS,
    ENGINE,
    GPUS,
    {
      name: "exit-code",
      description: "Exit with 10 if there is work to do",
    },
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["smoke", "See what a run would do"],
    ["glue-mini -S train.mrpc.epochs=8", "See what a parameter would change"],
    ["smoke --exit-code", "Ask in a script whether a run has work to do"],
  ],
  takes: { least: 1, most: Infinity },
  async run(given) {
    const { run, restore, unknown } = await printPlan(given);
    return given.has("exit-code") && run + restore + unknown > 0
      ? EXIT.workToDo
      : EXIT.fine;
  },
};
