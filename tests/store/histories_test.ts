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
  const path = folder.join("p", "s.json");
  new Histories(folder.path).succeeded("p", "s", "k1");
  const quiet = new Histories(folder.path, later);
  quiet.succeeded("p", "s", "k1");
  quiet.remember("p");

  // A write in place, which this program never does, does not change the folder.
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, "damaged");
  new Histories(folder.path, later).succeeded("p", "s", "k1");
  assertEquals(Deno.readTextFileSync(path), "damaged");
  Deno.writeTextFileSync(path, text);

  await tick();
  new Histories(folder.path, later).failed("p", "s", FAILURE);
  const after = new Histories(folder.path, later);
  assertEquals(after.read("p", "s").failure, FAILURE);
  after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});

Deno.test("Histories.remember() writes nothing when a history was written in between", async () => {
  using folder = new TemporaryFolder();
  new Histories(folder.path).succeeded("p", "s", "k1");
  const one = new Histories(folder.path, later);
  one.succeeded("p", "s", "k1");
  await tick();
  new Histories(folder.path, later).failed("p", "s", FAILURE);
  one.remember("p");
  const after = new Histories(folder.path, later);
  after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});

/** A program that records runs. */
const NOTING = (name: string) =>
  `const { Usage } = await import(${
    JSON.stringify(import.meta.resolve("../../lib/store/histories.ts"))
  });
   const { digest } = await import(${
    JSON.stringify(import.meta.resolve("../../lib/store/digest.ts"))
  });
   const usage = new Usage(Deno.args[0]);
   for (let i = 0; i < 5; i++) await usage.record("p", [digest("${name}" + i)]);`;

Deno.test("Usage.record() keeps all runs when two processes record at once", async () => {
  using folder = new TemporaryFolder();
  const names = ["a", "b"];
  await Promise.all(names.map(async (name) => {
    const program = folder.write(`${name}.js`, NOTING(name));
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", program, folder.join("used")],
    }).output();
    assert(success);
  }));
  const wanted = names.flatMap((name) =>
    [0, 1, 2, 3, 4].map((i) => digest(name + i))
  );
  assertEquals(
    [...new Usage(folder.join("used")).keys()].sort(),
    wanted.sort(),
  );
});
