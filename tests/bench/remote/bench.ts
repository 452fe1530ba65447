/**
 * Times what a remote costs and what it saves, beside DVC's remotes.
 *
 *     sh tests/bench/pipeline/setup.sh
 *     deno task bench remote --pipeline sst2-mini --profile quick -S data=GLUE
 */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Arguments } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES, PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { makeKey } from "../../../lib/remote/signature.ts";
import { statIfThere } from "../../../lib/files/files.ts";
import { CliProject } from "../../cli/project.ts";
import { FaultyServer } from "../../remote/made.ts";
import { NGINX, startNginx } from "../../remote/servers.ts";
import { benchmark, secondsOf } from "../options.ts";

/** Where `setup.sh` installs DVC. */
const INSTALLED = fileURLToPath(
  import.meta.resolve("../../../out/bench-tools"),
);

/** `deno task bench remote`. */
export const command = benchmark`
  remote

  Time what a remote costs and saves. A server on this machine that has nothing is asked for the results of many stages: seconds of a run with nothing to do, and per stage that is planned without a result, without a remote and with it, beside the round trip of a request. Then a pipeline is run; its results are pushed to an empty remote and restored into an output folder that has nothing but the code of its tasks, which planning bundles, in a folder and through nginx, and DVC pushes and pulls the same files. Run it on an idle machine.

  Options:
  --stages N  Number of stages that are planned (default 50)
  --rounds N  Number of times that each is timed, of which the median is reported (default 5)
  --pipeline NAME  Pipeline that is run and restored (default smoke)
  --profile NAME  Profile of the pipeline
  -S, --set KEY=VALUE...  Parameter of the pipeline
  --tools DIR  Folder in which tests/bench/pipeline/setup.sh installed DVC (default out/bench-tools)
  ${JSON_LINES}

  Examples:
  --json  Time everything on smoke, one row per line
  --pipeline sst2-mini --profile quick -S data=GLUE --rounds 3  Train and restore some of SST-2's results
`(async (args) => {
  const rounds = args.integer("rounds", 1) ?? 5;
  using project = new CliProject(pipelineOf(args.integer("stages", 1) ?? 50));
  const key = project.path("key.json");
  await makeKey(key);
  const bench = new Bench(args, project, rounds, {
    DYLORA_REMOTE_KEY: key,
    DYLORA_PROFILE: "",
    DYLORA_REMOTE: "",
    DVC_NO_ANALYTICS: "1",
  });
  await bench.overhead();
  await bench.transfers();
});

function pipelineOf(stages: number): string {
  const ids = Array.from({ length: stages }, (_, i) => i).join(", ");
  return `name: test
stages:
  make: { task: make, matrix: { i: [${ids}] }, with: { text: "t\${matrix.i}" } }
`;
}

class Bench {
  constructor(
    readonly args: Arguments,
    readonly project: CliProject,
    readonly rounds: number,
    readonly env: Readonly<Record<string, string>>,
  ) {}

  /** What a remote with nothing costs. */
  async overhead(): Promise<void> {
    const { project, rounds } = this;
    const stages = this.args.integer("stages", 1) ?? 50;
    await using server = new FaultyServer(project.path("nothing"));
    /**
     * Median seconds of a command on the project, without the remote and with
     * it, in turns.
     */
    const timed = async (command: string, out: string) => {
      const times: [number[], number[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        for (const [i, remote] of ["", server.url].entries()) {
          times[i]!.push(
            await secondsOf(() => this.#on(command, out, remote)),
          );
        }
      }
      return times.map(median) as [number, number];
    };
    this.#show("", "without remote", "with it");
    const trip = await secondsOf(async () => {
      for (let i = 0; i < 200; i++) {
        await (await fetch(`${server.url}/nothing`)).body?.cancel();
      }
    }) / 200;
    // The first plan bundles the code of the task.
    await this.#on("plan", project.path("cold"), "");
    const [cold, coldRemote] = await timed("plan", project.path("cold"));
    this.#show(
      "plan, per stage without a result",
      cold / stages,
      coldRemote / stages,
    );
    this.#show(
      "of that, beside the round trip",
      0,
      (coldRemote - cold) / stages - trip,
    );
    this.#show("the round trip of a request", 0, trip);
    const out = project.path("out");
    await this.#on("pipeline", out, "");
    const [noop, noopRemote] = await timed("pipeline", out);
    this.#show("a run with nothing to do", noop, noopRemote);
  }

  /** What a remote saves, and what transfers take beside DVC's. */
  async transfers(): Promise<void> {
    const { args, project } = this;
    const name = args.value("pipeline") ?? "smoke";
    const profile = args.value("profile");
    const words = [
      name,
      ...(profile === undefined ? [] : ["--profile", profile]),
      ...args.values("set").flatMap((it) => ["-S", it]),
    ];
    const dvc = join(resolve(args.value("tools") ?? INSTALLED), "bin/dvc");
    const hasDvc = statIfThere(dvc) !== undefined;
    if (!hasDvc) {
      console.error(
        `No DVC at "${dvc}": install it with "sh tests/bench/pipeline/setup.sh" to compare`,
      );
    }
    this.#show(name, "this", "DVC");
    const trained = project.path("trained");
    const run = (out: string, remote = "") =>
      this.#call(["pipeline", ...words, "--out", out, "--json"], remote);
    const restore = async (out: string, remote: string) => {
      const lines = (await run(out, remote)).trim().split("\n");
      const { ran } = lines.map((line) => JSON.parse(line))
        .find(({ type }) => type === "summary");
      if (ran > 0) throw new Error(`${ran} stages ran, in place of a restore`);
    };
    this.#show("run without results", await secondsOf(() => run(trained)));
    const plan = (out: string) => this.#call(["plan", ...words, "--out", out]);
    const planned: number[] = [];
    for (let round = 0; round < this.rounds; round++) {
      const out = this.#fresh("planned");
      planned.push(await secondsOf(() => plan(out)));
    }
    this.#show("plan into an empty output folder", median(planned));

    Deno.mkdirSync(project.path("nginx"));
    await using nginx = NGINX
      ? await startNginx(project.path("nginx"))
      : undefined;
    for (
      const [title, address] of [
        ["a folder", `file://${project.path("results")}`],
        ...(nginx ? [["nginx", nginx.url]] as const : []),
      ] as const
    ) {
      const own = address.replace("//127", "//ci:passw0rd@127");
      const pushes: number[][] = [[], []];
      const pulls: number[][] = [[], []];
      for (let round = 0; round < this.rounds; round++) {
        const remote = `${own}/own-${round}`;
        pushes[0]!.push(
          await secondsOf(() =>
            this.#call(["cache", "push", ...words, "--out", trained], remote)
          ),
        );
        const out = this.#fresh("restored");
        await plan(out);
        pulls[0]!.push(await secondsOf(() => restore(out, remote)));
        if (!hasDvc) continue;
        const other = new Dvc(dvc, this.#fresh("dvc"), this.env);
        await other.add(
          join(trained, name),
          `${address.replace("file://", "")}/dvc-${round}`,
        );
        pushes[1]!.push(await secondsOf(() => other.run("push")));
        other.forget();
        pulls[1]!.push(await secondsOf(() => other.run("pull")));
      }
      this.#show(`push to ${title}`, ...pushes.map(median));
      this.#show(`restore from ${title}`, ...pulls.map(median));
    }
  }

  /** An empty folder, in place of the one before. */
  #fresh(name: string): string {
    const folder = this.project.path(name);
    if (statIfThere(folder)) Deno.removeSync(folder, { recursive: true });
    Deno.mkdirSync(folder);
    return folder;
  }

  /** Calls a command on the project. */
  async #on(command: string, out: string, remote: string): Promise<void> {
    const { project } = this;
    const tasks = project.path("tasks");
    await this.#call(
      [command, project.path("test.yaml"), "--tasks", tasks, "--out", out],
      remote,
    );
  }

  async #call(words: readonly string[], remote = ""): Promise<string> {
    return await succeed(Deno.execPath(), {
      args: [...PROGRAM, ...words],
      env: { ...this.env, DYLORA_REMOTE: remote },
    });
  }

  #show(what: string, ...values: readonly (number | string)[]): void {
    const isHead = values.some((it) => typeof it === "string");
    if (this.args.has("json")) {
      if (!isHead) console.log(JSON.stringify({ what, seconds: values }));
      return;
    }
    const cells = values.map((it) =>
      (typeof it === "string" ? it : Number.isNaN(it) ? "-" : it.toFixed(4))
        .padStart(14)
    );
    console.log(`${what.padEnd(40)} ${cells.join("  ")}`);
  }
}

/** A project of DVC with the same files. */
class Dvc {
  constructor(
    readonly program: string,
    readonly folder: string,
    readonly env: Readonly<Record<string, string>>,
  ) {}

  async run(...args: readonly string[]): Promise<void> {
    await succeed(this.program, {
      args: [...args, "--quiet"],
      cwd: this.folder,
      env: this.env,
    });
  }

  /** Puts a folder under its control, with a remote. */
  async add(files: string, remote: string): Promise<void> {
    await succeed("cp", { args: ["-rL", files, join(this.folder, "data")] });
    await this.run("init", "--no-scm");
    await this.run("remote", "add", "--default", "there", remote);
    if (remote.startsWith("http")) {
      for (
        const [name, value] of [
          ["method", "PUT"],
          ["auth", "basic"],
          ["user", "ci"],
          ["password", "passw0rd"],
        ]
      ) await this.run("remote", "modify", "there", name!, value!);
    }
    await this.run("add", "data");
  }

  /** Leaves what a checkout has: neither files nor a cache. */
  forget(): void {
    for (const name of ["data", ".dvc/cache", ".dvc/tmp"]) {
      Deno.removeSync(join(this.folder, name), { recursive: true });
    }
  }
}

/** Standard output of a program. */
async function succeed(
  program: string,
  options: Deno.CommandOptions,
): Promise<string> {
  const decoder = new TextDecoder();
  const { success, stdout, stderr } = await new Deno.Command(program, options)
    .output();
  if (!success) throw new Error(decoder.decode(stderr));
  return decoder.decode(stdout);
}

/** NaN of no values. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
