/** Times what a remote costs and what it saves: a no-op, look-ups that find nothing, and a pipeline that is restored instead of run. */
import { join } from "node:path";
import {
  type Command,
  readOptions,
} from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES, PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { makeKey } from "../../../lib/remote/signature.ts";
import { CliProject } from "../../cli/project.ts";
import { FaultyServer } from "../../remote/made.ts";
import { secondsOf } from "../options.ts";

/** `deno task bench remote`. */
export const command: Command = {
  name: "bench remote",
  usage: "",
  description:
    `Time what a remote costs and saves. A server on this machine that has nothing is asked for the results of many stages: seconds of a run with nothing to do, and milliseconds per stage that is planned without a result, without a remote and with it, beside the round trip of a request. Then a pipeline is run, which stores its results, and restored into an empty cache.`,
  options: readOptions(`
    --stages N  Number of stages that are planned (default 50)
    --rounds N  Number of times that each is timed (default 5)
    --pipeline NAME  Pipeline that is run and restored (default smoke)
    ${JSON_LINES}`),
  examples: [["", "Time everything"]],
  positionals: { min: 0, max: 0 },
  async run(args) {
    const stages = args.integer("stages", 1) ?? 50;
    const rounds = args.integer("rounds", 1) ?? 5;
    const name = args.value("pipeline") ?? "smoke";
    const ids = Array.from({ length: stages }, (_, i) => i).join(", ");
    using project = new CliProject(`name: test
stages:
  make: { task: make, matrix: { i: [${ids}] }, with: { text: "t\${matrix.i}" } }
`);
    const key = project.path("key.json");
    await makeKey(key);
    await using server = new FaultyServer(project.path("remote"));
    const env = { DYLORA_REMOTE_KEY: key, DYLORA_PROFILE: "" };
    const remote = { ...env, DYLORA_REMOTE: server.url };
    const call = async (
      env: Record<string, string>,
      ...words: readonly string[]
    ) => {
      const { success, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...PROGRAM, ...words],
        env,
        stdout: "null",
      }).output();
      if (!success) throw new Error(new TextDecoder().decode(stderr));
    };
    /** Median seconds of a command on the project, without the remote and with it, in turns. */
    const timed = async (command: string, out: string) => {
      const words = [command, project.path("test.yaml")];
      const rest = ["--tasks", project.path("tasks"), "--out", out];
      const times: [number[], number[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        for (const [i, variables] of [env, remote].entries()) {
          times[i]!.push(
            await secondsOf(() => call(variables, ...words, ...rest)),
          );
        }
      }
      return times.map((it) => it.sort((a, b) => a - b)[rounds >> 1]!);
    };
    const show = (what: string, without: number, withIt: number) =>
      console.log(
        args.has("json")
          ? JSON.stringify({ what, without, with: withIt })
          : `${what.padEnd(40)} ${without.toFixed(4)}  ${withIt.toFixed(4)}`,
      );
    if (!args.has("json")) {
      console.log(`${"seconds".padEnd(40)} without remote  with it`);
    }

    const trip = await secondsOf(async () => {
      for (let i = 0; i < 200; i++) {
        await (await fetch(`${server.url}/nothing`)).body?.cancel();
      }
    }) / 200;
    const [cold, coldRemote] = await timed("plan", project.path("cold"));
    show(
      "plan, per stage without a result",
      cold! / stages,
      coldRemote! / stages,
    );
    show("the round trip of a request", 0, trip);
    const out = project.path("out");
    await call(env, ...[
      ...["pipeline", project.path("test.yaml")],
      ...["--tasks", project.path("tasks"), "--out", out],
    ]);
    const [noop, noopRemote] = await timed("pipeline", out);
    show("a run with nothing to do", noop!, noopRemote!);

    const folder = `file://${project.path("results")}`;
    const results = { ...env, DYLORA_REMOTE: folder };
    const ran = await secondsOf(() =>
      call(results, "pipeline", name, ...[
        "--remote-mode",
        "write",
        "--out",
        join(project.folder, "first"),
      ])
    );
    const restored = await secondsOf(() =>
      call(results, "pipeline", name, "--out", join(project.folder, "second"))
    );
    show(`${name}, run or restored`, ran, restored);
  },
};
