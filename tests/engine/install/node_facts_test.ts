import { assertEquals } from "@std/assert";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { instructionsOf, machineOf } from "../../../lib/engine/install/host.ts";
import {
  noFacts,
  recordedHost,
  recordingHost,
} from "../../../lib/engine/install/node_facts.ts";
import { DRIVER, fakeHost, LIBCUDA } from "./fake_host.ts";

const hosts = {
  "without a GPU": fakeHost({
    env: { CUDA_VISIBLE_DEVICES: "" },
    files: { "/proc/cpuinfo": "model name\t: A\nflags\t\t: avx avx2 fma" },
  }),
  "with a GPU": fakeHost({
    env: { LD_LIBRARY_PATH: "/opt/cuda" },
    files: { ...DRIVER, ...LIBCUDA },
    output: "9.0",
  }),
  "with a WebGPU adapter alone": fakeHost({
    target: "x86_64-pc-windows-msvc",
    adapter: { name: "A GPU", software: false },
  }),
};

for (const [title, host] of Object.entries(hosts)) {
  Deno.test(`recordedHost() of a node ${title} leads to the same engine as the node, after JSON`, async () => {
    const answers = async (host: Parameters<typeof machineOf>[1]) => {
      const choice = await selectEngine("auto", host);
      const { prepare: _, ...facts } = choice;
      return {
        facts,
        instructions: await instructionsOf(choice, host),
        machine: await machineOf(choice, host),
      };
    };
    const facts = noFacts(host.target);
    const onNode = await answers(recordingHost(host, facts));
    const elsewhere = recordedHost(JSON.parse(JSON.stringify(facts)));
    assertEquals(await answers(elsewhere), onNode);
    assertEquals(await answers(host), onNode);
  });
}
