/** The module for users outside of Deno: in Node.js, and in a browser. */
import { assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Input, load } from "../../lib/serve/classifier.ts";
import exportOnnx from "../../tasks/export-onnx.ts";
import { assertClose, fixture } from "../engine/reference.ts";
import { Browser, chromiumMissing } from "../report/chromium.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";
import { bundled, FileServer } from "../serve/file_server.ts";

const ONNX_JS = Deno.env.get("ONNX_JS");
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODULE = "lib/serve/classifier.ts";
const TEXTS: readonly Input[] = [
  "A film that stays.",
  { text: "Who wrote it?", pair: "A friend of the band." },
];

for (const runtime of ["onnxruntime-web", "onnxruntime-node"]) {
  Deno.test({
    name: `the module gives the same answers in Node.js, with ${runtime}`,
    ignore: runtime === "onnxruntime-node" && ONNX_JS === undefined,
    fn: () =>
      withExport(async (folder, expected) => {
        // Packages are found from its place.
        const script = join(ROOT, "out", `${crypto.randomUUID()}.mjs`);
        await Deno.mkdir(dirname(script), { recursive: true });
        await Deno.writeTextFile(
          script,
          await bundled(MODULE, { platform: "node", packages: "external" }),
        );
        const use = join(folder, "use.mjs");
        await Deno.writeTextFile(
          use,
          `import { createRequire } from "node:module";
           import { load } from ${JSON.stringify(`file://${script}`)};
           const require = createRequire(${
            JSON.stringify(join(ONNX_JS ?? ROOT, "package.json"))
          });
           const options = ${
            runtime === "onnxruntime-node"
              ? '{ runtime: require("onnxruntime-node") }'
              : "{}"
          };
           const classify = await load(${
            JSON.stringify(join(folder, "served"))
          }, options);
           const ranks = {};
           for (const rank of classify.ranks) {
             ranks[rank] = await classify(${JSON.stringify(TEXTS)}, { rank });
           }
           console.log(JSON.stringify(ranks));`,
        );
        try {
          const { code, stdout, stderr } = await new Deno.Command("node", {
            args: [use],
          }).output();
          assertEquals(code, 0, new TextDecoder().decode(stderr));
          const found = JSON.parse(new TextDecoder().decode(stdout));
          assertClose(sharesOf(found), expected, 1e-5, runtime);
        } finally {
          await Deno.remove(script);
        }
      }),
  });
}

Deno.test({
  name:
    `the module gives the same answers in Chromium, from this machine alone${
      chromiumMissing() ? ` (skipped: ${chromiumMissing()})` : ""
    }`,
  ignore: chromiumMissing() !== undefined,
  fn: () =>
    withExport(async (folder, expected) => {
      await using server = new FileServer({
        "module.js": { text: await bundled(MODULE) },
        served: { folder: join(folder, "served") },
      });
      const { address } = server;
      await using browser = await Browser.start();
      await browser.open(address);
      const found = await browser.evaluate<Answers>(`(async () => {
        const { load } = await import("/module.js");
        const classify = await load("served");
        const ranks = {};
        for (const rank of classify.ranks) {
          ranks[rank] = await classify(${JSON.stringify(TEXTS)}, { rank });
        }
        return ranks;
      })()`);
      assertClose(sharesOf(found), expected, 1e-5, "Chromium");
      const others = browser.requests.filter((it) => !it.startsWith(address));
      assertEquals(others.filter((it) => !/^(blob|data):/.test(it)), []);
      const message = await browser.evaluate<string>(`(async () => {
        const { load } = await import("/module.js");
        return await load("missing").catch((error) => error.message);
      })()`);
      assertMatch(message, /missing\/model\.json": status 404; expected a/);
    }),
});

type Answers = Record<string, { readonly scores: Record<string, number> }[]>;

function sharesOf(answers: Answers): number[] {
  return Object.values(answers).flat()
    .flatMap(({ scores }) => Object.values(scores));
}

/**
 * Calls a function with a folder with the export `served`, and what Deno
 * computes with it.
 */
function withExport(
  body: (folder: string, expected: readonly number[]) => Promise<void>,
): Promise<void> {
  return withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING, "bert");
    const { output } = await runTask(exportOnnx, folder, {}, {
      model: fixture("tiny-bert"),
      adapter,
    });
    await Deno.rename(output, join(folder, "served"));
    const classify = await load(join(folder, "served"));
    const answers: Answers = {};
    for (const rank of classify.ranks) {
      answers[rank] = await classify(TEXTS, { rank });
    }
    await classify.release();
    await body(folder, sharesOf(answers));
  });
}
