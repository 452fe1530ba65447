import { assert, assertEquals } from "@std/assert";
import type { Runtime } from "../../lib/scheduler/settings.ts";
import { verify } from "../../lib/scheduler/verify.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "../scheduler/project.ts";
import { Caches } from "./made.ts";

function runtime(identity: string): Runtime {
  return {
    identity,
    settings: {},
    flags: [],
    read: [],
    env: {},
    prepare: () => Promise.resolve(),
  };
}

/** The runtimes of a kind of machine. */
const on = (identity: string) => ({
  engine: () => Promise.resolve(runtime(identity)),
});

const STAGES = {
  a: { task: "make", params: { text: "some text" } },
  up: { task: "upper", inputs: { from: ["a"] } },
};

Deno.test("a result of another kind of machine is used if the run asks for recorded ones, and is named as such", async () => {
  using caches = new Caches();
  using project = new TestProject();
  project.task("make", "return params.text;", { rest: 'needs: ["engine"],' });
  project.task("upper", "return read('from').toUpperCase();", {
    inputs: { from: { kind: "text" } },
    rest: 'needs: ["engine"],',
  });
  const key = await caches.key("key");
  const url = `file://${caches.join("remote")}`;
  const open = (out: string, more: Parameters<Caches["remote"]>[2]) =>
    caches.remote(url, new Store(project.path(out, "cache")), more);
  const first = await open("out", { key });
  await project.run(STAGES, { runtimes: on("avx2"), remote: first });
  await first.end();

  const other = {
    out: project.path("other"),
    runtimes: on("avx512"),
  };
  const trusted = [key.signer];
  const reader = () => open("other", { trusted });
  const plain = await project.plan(STAGES, {
    ...other,
    remote: await reader(),
  });
  assertEquals([...plain.values()].map(({ state }) => state), [
    "run",
    "unknown",
  ]);
  const asked = { ...other, recorded: true };
  const plan = await project.plan(STAGES, { ...asked, remote: await reader() });
  for (const decision of plan.values()) {
    assert(decision.state === "restore");
    assertEquals(decision.recorded, "avx2");
  }
  const { summary } = await project.run(STAGES, {
    ...asked,
    remote: await reader(),
  });
  assertEquals([summary.ran, summary.restored], [0, 2]);

  // The cache has them now, and needs no remote.
  const again = await project.run(STAGES, asked);
  assertEquals(again.summary.unchanged, 2);
  const [decided] = again.events.filter((it) => it.type === "decided");
  assert(decided?.type === "decided" && "recorded" in decided.decision);
  const own = await project.run(STAGES, other);
  assertEquals(own.summary.ran, 2);
  assertEquals(caches.said, []);
});

Deno.test("verify() compares a second run with the result of a remote, whose inputs it takes", async () => {
  using caches = new Caches();
  using project = new TestProject();
  project.task("make", "return params.text;");
  project.task("upper", "return read('from') + crypto.randomUUID();", {
    inputs: { from: { kind: "text" } },
  });
  const key = await caches.key("key");
  const url = `file://${caches.join("remote")}`;
  const first = await caches.remote(
    url,
    new Store(project.path("out/cache")),
    { key },
  );
  await project.run(STAGES, { remote: first });
  await first.end();
  const out = project.path("other");
  const remote = await caches.remote(url, new Store(`${out}/cache`), {
    trusted: [key.signer],
  });
  const found = [];
  for (const stage of ["a", "up"]) {
    const { differing } = await verify(
      await project.graph(STAGES),
      stage,
      project.settings({ out, remote }),
      () => {},
      new AbortController().signal,
    );
    found.push(differing);
  }
  assertEquals(found, [[], ["out.txt"]]);
});
