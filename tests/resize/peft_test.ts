import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import type { RankTarget } from "../../lib/resize/choose.ts";
import { resize, type ResizeRequest } from "../../lib/resize/resize.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");

/** Runs a script of this folder; gives the JSON that it prints. */
// deno-lint-ignore no-explicit-any
async function python(script: string, ...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await new Deno.Command(PYTHON!, {
    args: ["-W", "ignore", join(import.meta.dirname!, script), ...args],
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stderr));
  const text = decoder.decode(stdout);
  return text === "" ? undefined : JSON.parse(text);
}

function test(
  name: string,
  fn: (folder: string) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: PYTHON === undefined,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        await fn(folder);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

async function resized(
  source: string,
  output: string,
  request: Pick<ResizeRequest, "choices"> & Partial<ResizeRequest>,
) {
  await Deno.mkdir(output);
  return await resize(
    { source, weight: 1, added: [], dtype: undefined, ...request },
    { output, threads: 2 },
  );
}

for (
  const [kind, file, ranks, dtype] of [
    ["llama", "adapter", [8], undefined],
    ["encoder", "adapter", [4, 24], undefined],
    // Half precision rounds the result to 1e-3.
    ["sdxl", "adapter.safetensors", [16], "F32"],
  ] as const
) {
  test(`resize() finds the singular values and products of PyTorch, shapes of ${kind}`, async (folder) => {
    const source = join(folder, file);
    await python("reference.py", "make", kind, source);
    const choices = new Map(ranks.map((rank) => [`${rank}`, { rank }]));
    const output = join(folder, "resized");
    const results = await resized(source, output, { choices, dtype });
    for (const { folder, total, modules } of results) {
      const path = join(output, folder, kind === "sdxl" ? file : "");
      const found = await python(
        ...["reference.py", "compare", kind, source, path, folder] as const,
      );
      assertEquals(found.modules, modules.length);
      assert(found.values < 1e-5, `singular values differ by ${found.values}`);
      assert(found.product < 1e-5, `products differ by ${found.product}`);
      assert(Math.abs(found.energy - total.energy) < 1e-6);
      if (kind === "encoder") assertEquals(found.carried.length, 1);
      if (kind !== "sdxl") continue;
      assert(found.kohya < 1e-5, `kohya's products differ by ${found.kohya}`);
      assertEquals(found.metadata, {
        ss_network_dim: "16",
        ss_network_alpha: "4",
        ss_network_args: '{"conv_dim": "16", "conv_alpha": "4"}',
        ss_training_comment: "resized from rank 128 to 16; hands",
        "modelspec.title": "hands",
      });
    }
  });
}

for (const kind of ["llama", "encoder", "convolutions"] as const) {
  test(`PEFT computes the logits of the truncated product from what resize() writes, ${kind}`, async (folder) => {
    const source = join(folder, "adapter");
    await python("peft_models.py", "make", kind, source);
    const output = join(folder, "resized");
    await resized(source, output, {
      choices: new Map<string, RankTarget>([
        ["rank", { rank: 4 }],
        ["energy", { energy: 0.7 }],
      ]),
    });
    for (const name of ["rank", "energy"]) {
      const found = await python(
        ...["peft_models.py", "compare", kind, source] as const,
        join(output, name),
      );
      assert(found.difference < 1e-4, `logits differ by ${found.difference}`);
      assert(found.truncation > 1e-2, "the truncation changes the logits");
      assert(found.converted < 1e-5, "as convert_to_lora() of PEFT does it");
      if (name === "rank") assertEquals(found.ranks, [4]);
      else assert(found.ranks.length > 1, "modules have ranks of their own");
    }
  });
}

for (const kind of ["lycoris", "diffusers"] as const) {
  test(
    `diffusers${
      kind === "lycoris" ? ", and LyCORIS for kohya's scripts," : ""
    } computes the output of the truncated products from what resize() writes, of a file of ${kind}`,
    async (folder) => {
      const source = join(folder, "adapter.safetensors");
      await python("diffusers_models.py", "make", kind, source);
      const choices = new Map([["4", { rank: 4 }]]);
      const output = join(folder, "resized");
      await resized(source, output, { choices });
      const found = await python(
        ...["diffusers_models.py", "compare", kind, source] as const,
        ...[join(output, "4", "adapter.safetensors"), "4"],
      );
      for (const [tool, difference] of Object.entries(found.differences)) {
        assert(Number(difference) < 1e-4, `${tool} differs by ${difference}`);
      }
      assertEquals(found.loaded, found.modules);
      assert(found.truncation > 1e-2, "the truncation changes the output");
    },
  );
}
