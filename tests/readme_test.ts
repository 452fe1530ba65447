import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const readme = Deno.readTextFileSync(join(root, "README.md"));
const tasks: Record<string, unknown> =
  JSON.parse(Deno.readTextFileSync(join(root, "deno.json"))).tasks;

/** Blocks of a language, without the fences. */
function blocks(language: string): string[] {
  return [
    ...readme.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms")),
  ]
    .map(([, text]) => text!);
}

/** Arguments of each `deno task` line of the README's shell blocks. */
const commands = blocks("sh").flatMap((block) => block.trim().split("\n"))
  .map((line) =>
    line.replace(/^npx -y deno@[\d.]+ task |^deno task /, "").split(" ")
  );

async function denoTask(args: readonly string[], cwd = root) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", ...args],
    cwd,
    env: { NO_COLOR: "1", CI: "1" },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("README names tasks that exist, and its two commands first", () => {
  assertEquals(commands.slice(0, 2), [["pipeline", "smoke"], ["test"]]);
  assertMatch(
    readme,
    /npx -y deno@2\.9\.6 task pipeline smoke\nnpx -y deno@2\.9\.6 task test/,
  );
  for (const [name] of commands) assert(name! in tasks, `no task "${name}"`);
  for (const [, name] of readme.matchAll(/`deno task ([a-z]+)/g)) {
    assert(name! in tasks, `no task "${name}"`);
  }
});

Deno.test("README's smoke pipeline prints the report, then has nothing to do, and is deterministic", async () => {
  const out = await Deno.makeTempDir();
  try {
    const first = await denoTask(["pipeline", "smoke", "--out", out]);
    assertEquals(first.code, 0, first.stdout + first.stderr);
    assertMatch(first.stdout, /12 stages: 12 ran/);
    assertMatch(first.stdout, /\*\*Speed-up [\d.]+x\*\*/);
    const scores = JSON.parse(
      await Deno.readTextFile(
        join(out, "smoke/evaluate-dylora@sst2,seed=0/scores.json"),
      ),
    ) as { ranks: { rank: number; metrics: { accuracy: number } }[] };
    assertEquals(scores.ranks.map(({ rank }) => rank), [
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
    ]);
    for (const { rank, metrics } of scores.ranks) {
      assert(
        metrics.accuracy > 0.7,
        `rank ${rank}: ${metrics.accuracy}, chance is 0.5`,
      );
    }

    const second = await denoTask(["pipeline", "smoke", "--out", out]);
    assertEquals(second.code, 0, second.stdout + second.stderr);
    assertMatch(second.stdout, /Nothing to do: 12 stages unchanged/);

    const again = await denoTask([
      "verify",
      "smoke",
      "train-dylora",
      "evaluate-dylora",
      "--out",
      out,
    ]);
    assertEquals(again.code, 0, again.stdout + again.stderr);
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});

Deno.test("README's other commands run", async () => {
  const out = await Deno.makeTempDir();
  try {
    for (const [name, ...args] of commands.slice(2)) {
      const { code, stdout, stderr } = await denoTask([
        name!,
        ...args.map((arg) =>
          arg.replaceAll("GLUE", "./fixtures/tiny-glue")
            .replace("./roberta-base", "./fixtures/tiny-roberta")
            .replace("my.tsv", "./fixtures/tiny-glue/SST-2/train.tsv")
        ),
        ...(name === "schema" ? [] : ["--out", out]),
        ...(name === "pipeline" && !args.includes("--dry-run")
          ? ["--dry-run"]
          : []),
      ]);
      assertEquals(code, 0, `${name} ${args.join(" ")}: ${stdout}${stderr}`);
    }
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});

Deno.test("README's pipeline is a pipeline", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "which-rank.yaml");
    for (const text of blocks("yaml")) {
      await Deno.writeTextFile(file, text);
      const { code, stdout, stderr } = await denoTask([
        "plan",
        file,
        "--profile",
        "quick",
        "--out",
        folder,
      ]);
      assertEquals(code, 0, stdout + stderr);
      assertMatch(stdout, /dylora@seed=0/);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("README has every flag of the pipeline command, and no other", async () => {
  const { stdout } = await denoTask(["pipeline", "--help"]);
  const flagsOf = (text: string) =>
    [...new Set(text.match(/--[a-z][a-z-]+/g))].sort();
  const table = readme.slice(
    readme.indexOf("## Flags of"),
    readme.indexOf("Stages are named by id"),
  );
  assertEquals(flagsOf(table), flagsOf(stdout));
});
