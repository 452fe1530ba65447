import { assertEquals } from "@std/assert";
import { Histories } from "../../lib/store/histories.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

const FAILURE = { key: "k2", message: "no", ended: "now", log: "log" };

/** Waits until a later write would show in the times of a folder. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2_100));
}

Deno.test("Histories.succeeded() reads no history that it remembers, and each that may be another", async () => {
  using folder = new TemporaryFolder();
  const path = folder.join("p", "s.json");
  new Histories(folder.path).succeeded("p", "s", "k1");
  await settle();
  const quiet = new Histories(folder.path);
  quiet.succeeded("p", "s", "k1");
  quiet.remember("p");

  // Written in place, which no process of this program does, it goes unseen.
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, "damaged");
  new Histories(folder.path).succeeded("p", "s", "k1");
  assertEquals(Deno.readTextFileSync(path), "damaged");
  Deno.writeTextFileSync(path, text);

  new Histories(folder.path).failed("p", "s", FAILURE);
  const after = new Histories(folder.path);
  assertEquals(after.read("p", "s").failure, FAILURE);
  after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});

Deno.test("Histories.remember() keeps nothing if a history was written meanwhile", async () => {
  using folder = new TemporaryFolder();
  new Histories(folder.path).succeeded("p", "s", "k1");
  await settle();
  const one = new Histories(folder.path);
  one.succeeded("p", "s", "k1");
  new Histories(folder.path).failed("p", "s", FAILURE);
  await settle();
  one.remember("p");
  const after = new Histories(folder.path);
  after.succeeded("p", "s", "k1");
  assertEquals(after.read("p", "s"), { keys: ["k1"] });
});
