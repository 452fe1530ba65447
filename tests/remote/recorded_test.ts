import { assert, assertEquals, assertMatch } from "@std/assert";
import { NO_RUN } from "../../lib/report/run_facts.ts";
import type { Runtime } from "../../lib/scheduler/settings.ts";
import { verify } from "../../lib/scheduler/verify.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "../scheduler/project.ts";
import { Checkouts } from "./checkouts.ts";
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
      (name, before) => [name, Deno.readTextFileSync(before).slice(0, 9)],
    );
    found.push(differing);
  }
  assertEquals(found, [{}, { "out.txt": ["out.txt", "some text"] }]);
  assertEquals(new Store(`${out}/cache`).manifests.keys().length, 1);
});

/** A task whose key has the engine, and whose output has `fields` in a declaration and `body` in its run. */
const task = (kind: string, file: string, fields: string, body: string) => `
import * as z from "zod";
export default {
  description: "Makes a file",
  params: z.looseObject({}),
  output: { kind: "${kind}", files: [${JSON.stringify(file)}] },
  ${fields},
  async run({ inputs, output, log }) {
    const write = (text) => Deno.writeTextFileSync(output + "/${file}", text);
    ${body}
  },
};
`;

/** Tasks of a pipeline that trains and reports, and of the commands that use its adapter. */
const TASKS = {
  base: task("model", "model.txt", "inputs: {}", 'write("model");'),
  fit: task(
    "adapter",
    "adapter.txt",
    'needs: ["engine"], inputs: { model: { kind: "model" } }',
    'log("trains"); write("adapter");',
  ),
  judge: task(
    "report",
    "report.html",
    'inputs: { adapters: { kind: "adapter", many: true } }',
    `write(${JSON.stringify(`<p>${NO_RUN}`)});`,
  ),
  "export-adapter": task(
    "peft",
    "exported.txt",
    'inputs: { adapter: { kind: "adapter" } }',
    'write(Deno.readTextFileSync(inputs.adapter[0].path + "/adapter.txt"));',
  ),
  classify: task(
    "classification",
    "classification.json",
    'inputs: { adapter: { kind: "adapter" }, model: { kind: "model" } }',
    `const label = Deno.readTextFileSync(inputs.adapter[0].path + "/adapter.txt");
    write(JSON.stringify({ task: "t", method: "fit", rank: 1,
      texts: [{ text: "x", label, probabilities: { [label]: 1 }, score: null }] }));`,
  ),
};

Deno.test("--recorded finds results of another engine, in all commands, and each says what made them", async () => {
  using checkouts = await Checkouts.open(
    `name: test
stages:
  base: { task: base }
  train: { task: fit, inputs: { model: base } }
  report: { task: judge, inputs: { adapters: train } }
`,
    TASKS,
  );
  const { first, second } = checkouts;
  const call = (command: string, ...args: readonly string[]) =>
    checkouts.run(second, [...args, "--engine", "tensorflow"], {}, command);
  const on = /recorded,? on wasm \S+/;
  const stored = await checkouts.run(first, [
    ...["--engine", "wasm", "--remote-mode", "write"],
  ]);
  assertEquals(stored.code, 0, stored.stdout);

  const equal = await call("plan");
  assertMatch(equal.stdout, /^run +train +/m);
  const plan = await call("plan", "--recorded");
  assertMatch(plan.stdout, /^restore +base +in file:/m);
  assertMatch(plan.stdout, /^restore +train +recorded on wasm .*, in file:/m);
  const ran = await call("pipeline", "--recorded");
  assertMatch(ran.stdout, /^3 stages: 0 ran, 3 restored,/m);
  assertMatch(
    ran.stdout,
    /^1 of 3 results are recorded, on wasm .*: train; computed here, their/m,
  );
  assertMatch(
    second.read("out/test/report.html"),
    /train.*u003ctd>recorded on wasm/,
  );
  assertMatch((await call("status", "--recorded")).stdout, on);
  assertMatch((await call("explain", "train", "--recorded")).stdout, on);

  for (
    const [command, ...args] of [
      ["logs", "train"],
      ["export", "train", "--to", second.path("exported")],
      ["predict", "train", "a text", "--json"],
      ["verify", "train"],
    ] as const
  ) {
    const none = await call(command, ...args);
    assertEquals(none.code, 1, command);
    assertMatch(none.stderr, /^Stage "train" has no .*\n {2}run: /m);
    const { code, stdout, stderr } = await call(command, ...args, "--recorded");
    assertEquals(code, 0, stderr);
    if (command === "logs") assertMatch(stdout, /trains$/m);
    else assertMatch(stderr + stdout, on);
  }
  assertEquals(second.read("exported/exported.txt"), "adapter");

  Deno.removeSync(second.path("out"), { recursive: true });
  const pulled = await checkouts.cache(
    second,
    "pull",
    ...["--recorded", "--engine", "tensorflow"],
  );
  assertEquals(pulled.code, 0, pulled.stderr);
  const off = await call("pipeline", "--recorded", "--remote-mode", "off");
  assertMatch(off.stdout, /^3 stages: 0 ran, 3 restored,/m);
});

Deno.test("verify --from says which bytes of which file and tensor differ from the result of a remote", async () => {
  const tasks = {
    // The bytes of the tensor "b" depend on the time.
    fit: task(
      "adapter",
      "a.safetensors",
      "inputs: {}",
      `const header = JSON.stringify({
        a: { dtype: "U8", shape: [4], data_offsets: [0, 4] },
        b: { dtype: "U8", shape: [3], data_offsets: [4, 7] },
      });
      const length = new Uint8Array(8);
      length[0] = header.length;
      const now = Date.now();
      write("");
      Deno.writeFileSync(output + "/a.safetensors", Uint8Array.of(
        ...length, ...new TextEncoder().encode(header),
        1, 2, 3, 4, now, now >> 8, 7,
      ));
      Deno.writeTextFileSync(output + "/same.txt", "same");
      Deno.writeTextFileSync(output + "/" + now + ".txt", "");`,
    ),
  };
  using checkouts = await Checkouts.open(
    "name: test\nstages: { train: { task: fit } }\n",
    tasks,
  );
  const { second, env } = checkouts;
  await checkouts.store();
  const from = { DYLORA_REMOTE: "" };
  const args = ["train", "--from", env.DYLORA_REMOTE!];
  const { code, stdout } = await checkouts.run(second, args, from, "verify");
  assertEquals(code, 1);
  assertMatch(stdout, /^train: 3 of 4 files different, in /m);
  assertMatch(
    stdout,
    /^ {2}a\.safetensors: [12] of 120 bytes differ, the first at 11[78]; in "b" [12]$/m,
  );
  assertEquals(
    stdout.match(/^ {2}\d+\.txt: only one of the two runs has made it$/gm)
      ?.length,
    2,
  );
  assertEquals(second.exists("out/test/train"), false);
  const json = await checkouts.run(second, [...args, "--json"], from, "verify");
  const { differing } = json.json().find(({ type }) => type === "verified");
  assertEquals(differing["a.safetensors"].sizes, [120, 120]);
  assertEquals(Object.keys(differing["a.safetensors"].tensors), ["b"]);
  const none = await checkouts.run(
    second,
    ["train", "--from", `file://${second.path("empty")}`],
    from,
    "verify",
  );
  assertEquals(none.code, 1);
});
