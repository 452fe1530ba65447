import { assert, assertEquals } from "@std/assert";
import { digest } from "../../lib/files/digest.ts";
import { Histories, RecentRuns } from "../../lib/store/histories.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

const FAILURE = {
  state: "failed",
  key: "k2",
  message: "no",
  ended: "now",
  log: "log",
} as const;

Deno.test("Histories.succeeded() replaces a damaged history", async () => {
  using folder = new TemporaryFolder();
  const histories = new Histories(folder.join("stages"));
  await histories.succeeded("p", "s", "k1");
  folder.write("stages/p/s.json", "damaged");
  await histories.succeeded("p", "s", "k1");
  assertEquals(histories.read("p", "s"), { keys: ["k1"] });
});

Deno.test("Histories.succeeded() clears a failure of the same process", async () => {
  using folder = new TemporaryFolder();
  const histories = new Histories(folder.join("stages"));
  await histories.succeeded("p", "s", "k1");
  await histories.succeeded("p", "s", "k1");
  await histories.ended("p", "s", FAILURE);
  await histories.succeeded("p", "s", "k1");
  assertEquals(histories.read("p", "s"), { keys: ["k1"] });
});

const NAMES = ["a", "b"];

/** Runs programs at once, each with this body and a name of its own. */
async function atOnce(
  folder: TemporaryFolder,
  body: string,
): Promise<void> {
  const head = ["store/histories", "files/digest"].map((path) => {
    const url = import.meta.resolve(`../../lib/${path}.ts`);
    const it = path.split("/")[1];
    return `import * as ${it} from ${JSON.stringify(url)};\n`;
  });
  const program = folder.write("program.js", `${head.join("")}${body}`);
  await Promise.all(NAMES.map(async (name) => {
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", program, folder.join("used"), name],
      stderr: "inherit",
    }).output();
    assert(success);
  }));
}

Deno.test("Histories.succeeded() keeps all results when runs with different parameters record them at once", async () => {
  using folder = new TemporaryFolder();
  await atOnce(
    folder,
    `const [path, name] = Deno.args;
     const all = new histories.Histories(path);
     for (let i = 0; i < 10; i++) await all.succeeded("p", "s", name + i);`,
  );
  assertEquals(
    new Histories(folder.join("used")).read("p", "s").keys.toSorted(),
    NAMES.flatMap((name) => [...Array(10).keys()].map((i) => name + i)),
  );
});

Deno.test("RecentRuns.record() keeps all runs when two processes record at once", async () => {
  using folder = new TemporaryFolder();
  await atOnce(
    folder,
    `const [path, name] = Deno.args;
     const usage = new histories.RecentRuns(path);
     for (let i = 0; i < 5; i++) await usage.record("p", [await digest.digest(name + i)]);`,
  );
  const wanted = await Promise.all(
    NAMES.flatMap((name) => [0, 1, 2, 3, 4].map((i) => digest(name + i))),
  );
  assertEquals(
    [...new RecentRuns(folder.join("used")).keys()].sort(),
    wanted.sort(),
  );
});
