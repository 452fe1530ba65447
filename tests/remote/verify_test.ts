import { assertEquals, assertMatch } from "@std/assert";
import { verify } from "../../lib/scheduler/verify.ts";
import { Store } from "../../lib/store/store.ts";
import { TestProject } from "../scheduler/project.ts";
import { Checkouts } from "./checkouts.ts";
import { Caches } from "./made.ts";

const STAGES = {
  a: { task: "make", params: { text: "some text" } },
  up: { task: "upper", inputs: { from: ["a"] } },
};

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

/** A task whose output has `fields` in a declaration and `body` in its run. */
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
