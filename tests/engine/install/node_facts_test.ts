import { assertEquals } from "@std/assert";
import { recordedHost } from "../../../lib/engine/install/node_facts.ts";

Deno.test("recordedHost() gives recorded answers, and can be what a promise resolves to", async () => {
  const answers = { target: "x86_64", '["env","HOME"]': "/home/of-the-node" };
  const host = await Promise.resolve(recordedHost(answers));
  assertEquals(host.target, "x86_64");
  assertEquals(host.env("HOME"), "/home/of-the-node");
  assertEquals(host.env("PATH"), undefined);
});
