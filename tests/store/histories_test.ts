import { assert, assertEquals } from "@std/assert";
import { digest } from "../../lib/store/digest.ts";
import { Histories, Usage } from "../../lib/store/histories.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

const FAILURE = { key: "k2", message: "no", ended: "now", log: "log" };

/** A clock by which a later write would show in the times of a folder. */
const later = () => Date.now() + 10_000;

/** Waits until the next write has another ctime, which Deno gives in whole seconds. */
async function tick(): Promise<void> {
  const rest = 1000 - Date.now() % 1000;
  await new Promise((resolve) => setTimeout(resolve, rest + 20));
}

Deno.test("Histories.succeeded() reads a history only when the folder has changed", async () => {
  using folder = new TemporaryFolder();
  const path = folder.join("stages", "p", "s.json");
  await new Histories(folder.join("stages")).succeeded("p", "s", "k1");
  const quiet = new Histories(folder.join("stages"), later);
  await quiet.succeeded("p", "s", "k1");
  quiet.remember("p");

  // A write in place, which this program never does, does not change the folder.
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, "damaged");
  await new Histories(folder.join("stages"), later).succeeded("p", "s", "k1");
  assertEquals(Deno.readTextFileSync(path), "damaged");
  Deno.writeTextFileSync(path, text);

  await tick();
  await new Histories(folder.join("stages"), later).failed("p", "s", FAILURE);
  const after = new Histories(folder.join("stages"), later);
  assertEquals(after.read("p", "s").failure, FAILURE);
  await after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});

Deno.test("Histories.succeeded() clears a failure of the same process", async () => {
  using folder = new TemporaryFolder();
  const histories = new Histories(folder.join("stages"), later);
  await histories.succeeded("p", "s", "k1");
  await histories.succeeded("p", "s", "k1");
  await histories.failed("p", "s", FAILURE);
  await histories.succeeded("p", "s", "k1");
  assertEquals(histories.read("p", "s"), { keys: ["k1"] });
});

Deno.test("Histories.remember() writes nothing when a history was written in between", async () => {
  using folder = new TemporaryFolder();
  await new Histories(folder.join("stages")).succeeded("p", "s", "k1");
  const one = new Histories(folder.join("stages"), later);
  await one.succeeded("p", "s", "k1");
  await tick();
  await new Histories(folder.join("stages"), later).failed("p", "s", FAILURE);
  one.remember("p");
  const after = new Histories(folder.join("stages"), later);
  await after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});

const NAMES = ["a", "b"];

/** Runs programs at once, each with this body and a name of its own. */
async function atOnce(
  folder: TemporaryFolder,
  body: string,
): Promise<void> {
  const head = ["histories", "digest"].map((it) => {
    const url = import.meta.resolve(`../../lib/store/${it}.ts`);
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

Deno.test("Usage.record() keeps all runs when two processes record at once", async () => {
  using folder = new TemporaryFolder();
  await atOnce(
    folder,
    `const [path, name] = Deno.args;
     const usage = new histories.Usage(path);
     for (let i = 0; i < 5; i++) await usage.record("p", [digest.digest(name + i)]);`,
  );
  const wanted = NAMES.flatMap((name) =>
    [0, 1, 2, 3, 4].map((i) => digest(name + i))
  );
  assertEquals(
    [...new Usage(folder.join("used")).keys()].sort(),
    wanted.sort(),
  );
});
