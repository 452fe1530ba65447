import {
  assert,
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { runtimeOf } from "../../lib/cli/runtime/engine.ts";
import { thisHost } from "../../lib/engine/install/host.ts";
import type { EngineChoice } from "../../lib/engine/install/choice.ts";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { BusyError } from "../../lib/scheduler/failure.ts";
import { verify } from "../../lib/scheduler/verify.ts";
import { withEnvironment } from "../environment.ts";
import { engine, TestProject } from "./project.ts";
import {
  firstLine,
  holdTask,
  overlap,
  spanOf,
  spans,
  spansOf,
} from "./span_tasks.ts";

const NEEDS_ENGINE = 'needs: ["engine"],';
const NEVER = new AbortController().signal;

/**
 * Settings with an engine that needs so many GPUs, and the ids of those that
 * can be used.
 */
function engineOn(count: number | undefined, gpus: readonly string[]) {
  return {
    ...engine("engine 1", count === undefined ? {} : { gpus: count }),
    limits: { jobs: 2, cpus: 2, memory: 1e9, gpus },
  };
}

Deno.test("visibleGpus() numbers the devices as CUDA does", async () => {
  await withEnvironment({ CUDA_VISIBLE_DEVICES: undefined }, () => {
    assertEquals(visibleGpus(["null", "nvidiactl", "nvidia-uvm"]), []);
    assertEquals(visibleGpus(["nvidia1", "nvidia0", "nvidiactl"]), ["0", "1"]);
    assertEquals(visibleGpus(["nvidia3", "nvidiactl"]), ["0"]);
    assertEquals(visibleGpus(["null", "dxg"]), ["0"]);
  });
});

Deno.test("run() gives each stage GPUs of its own, and none to stages that ask for none", async () => {
  using project = new TestProject();
  const gpus = ["a", "b"];
  const limits = { jobs: 2, cpus: 2, memory: 1e9, gpus };
  await project.run(spans(project, { resources: { gpu: 1 } }), { limits });
  assertEquals(spansOf(project).map(([, , id]) => id).sort(), gpus);
  await project.run(spans(project), {
    limits,
    force: new Set(["s0", "s1"]),
  });
  assertEquals(spansOf(project).map(([, , id]) => id), ["", ""]);
});

Deno.test("run() never shares a GPU with another process that has the same cache", async () => {
  using one = new TestProject();
  using other = new TestProject();
  const limits = { jobs: 1, cpus: 2, memory: 1e9, gpus: ["a"] };
  const stages = (project: TestProject) => {
    const { s0 } = spans(project, { resources: { gpu: 1 } });
    return { s0 };
  };
  const first = one.spawn(stages(one), { limits });
  const second = other.spawn(stages(other), { limits, out: one.path("out") });
  await Promise.all([first.end(), second.end()]);
  assertEquals(overlap([spanOf(one, "s0"), spanOf(other, "s0")]), false);
});

Deno.test("run() names the process that holds a GPU, and throws BusyError when wait is false", async () => {
  using one = new TestProject();
  using other = new TestProject();
  const out = one.path("out");
  const limits = { jobs: 2, cpus: 2, memory: 1e9, gpus: ["a"] };
  const resources = { gpu: 1 };
  const letGo = holdTask(one);
  other.task("quick", "return 1;");
  const first = one.spawn({ hold: { task: "hold", resources } }, { limits });
  await first.event(({ type }) => type === "started");
  const stages = {
    quick: { task: "quick", resources },
    without: { task: "quick", params: { n: 1 } },
  };
  const holder = `process ${first.process.pid} (GPU a)`;
  assertEquals(
    (await assertRejects(
      () => other.run(stages, { limits, out, wait: false }),
      BusyError,
    )).message,
    `"quick" would have to wait for a GPU held by ${holder}`,
  );
  assertEquals(one.read("out/test/without/out.txt"), "1");

  const second = other.spawn(stages, { limits, out });
  const said = await firstLine(second);
  assertEquals(said, `quick: Waiting for a GPU held by ${holder}`);
  letGo();
  await first.end();
  const summary = await second.end();
  assert(summary?.type === "summary");
  assertEquals([summary.ran, summary.unchanged], [1, 1]);
});

Deno.test("run() lets its own stages take turns with a GPU, even when wait is false", async () => {
  using project = new TestProject();
  const limits = { jobs: 2, cpus: 2, memory: 1e9, gpus: ["a"] };
  const { summary } = await project.run(
    spans(project, { resources: { gpu: 1 } }),
    { limits, wait: false },
  );
  assertEquals(summary.ran, 2);
});

Deno.test("run() gives a GPU to each stage whose runtime needs one", async () => {
  using project = new TestProject();
  const gpus = ["a", "b"];
  const [first] = gpus;
  const stages = spans(project, {}, NEEDS_ENGINE);
  project.task("plain", "return Deno.env.get('CUDA_VISIBLE_DEVICES');", {
    rest: `permissions: { env: ["CUDA_VISIBLE_DEVICES"] },`,
  });
  const withPlain = { ...stages, plain: { task: "plain" } };
  const ids = () => spansOf(project).map(([, , id]) => id).sort();
  await project.run(withPlain, engineOn(1, gpus));
  assertEquals(ids(), gpus);
  assertEquals(project.read("out/test/plain/out.txt"), "");

  const force = new Set(Object.keys(stages));
  await project.run(stages, { ...engineOn(1, [first!]), force });
  assertEquals(ids(), [first!, first!]);
  assertEquals(overlap(spansOf(project)), false);

  const asking = spans(project, { resources: { gpu: 2 } }, NEEDS_ENGINE);
  await project.run(asking, { ...engineOn(1, gpus), force });
  assertEquals(ids(), [gpus.join(), gpus.join()]);
});

Deno.test("run() fails a stage whose runtime needs a GPU when none can be used", async () => {
  using project = new TestProject();
  const { s0 } = spans(project, {}, NEEDS_ENGINE);
  const { summary, events } = await project.run({ s0 }, engineOn(1, []));
  assertEquals(summary.failed, 1);
  const failed = events.find((event) => event.type === "failed");
  assertMatch(
    failed?.type === "failed" ? failed.message : "",
    /^1 GPU is needed, but 0 can be used/,
  );
});

Deno.test("verify() takes GPUs as run() does, and keys do not depend on them", async () => {
  using project = new TestProject();
  const { s0 } = spans(project, {}, NEEDS_ENGINE);
  await project.run({ s0 }, engineOn(undefined, []));
  assertEquals(spanOf(project, "s0")[2], "");
  const graph = await project.graph({ s0 });
  const again = (gpus: readonly string[]) =>
    verify(
      graph,
      "s0",
      project.settings(engineOn(1, gpus)),
      () => {},
      NEVER,
      (it) => it,
    );
  assertEquals((await again(["a"])).differing, {});
  assertEquals(spanOf(project, "s0")[2], "a");
  assertIsError(
    await assertRejects(() => again([])),
    Error,
    /^1 GPU is needed, but 0 can/,
  );
});

Deno.test("runtimeOf() asks for a GPU when TensorFlow computes on one, and otherwise not", async () => {
  const gpusOf = async (
    engine: EngineChoice["engine"],
    device: EngineChoice["device"],
  ) => {
    const choice: EngineChoice = {
      engine,
      device,
      reason: "",
      identity: "",
      flags: [],
      read: [],
      env: {},
      prepare: () => Promise.resolve(),
    };
    return (await runtimeOf(choice, {}, thisHost)).gpus;
  };
  assertEquals(await gpusOf("tensorflow", "gpu"), 1);
  assertEquals(await gpusOf("tensorflow", "cpu"), 0);
  assertEquals(await gpusOf("webgpu", "gpu"), 0);
  assertEquals(await gpusOf("wasm", "cpu"), 0);
});
