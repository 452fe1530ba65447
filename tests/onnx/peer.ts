import { assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  type TensorValues,
  writeSafetensors,
} from "../../lib/engine/safetensors/writer.ts";

/** A Python with onnx and onnxruntime, as setup.sh makes it. */
export const ONNX_PYTHON = Deno.env.get("ONNX_PYTHON");

/** Inputs of a run by their names; integers are given as int64. */
export type Feed = Readonly<Record<string, TensorValues>>;

/**
 * Checks models with onnx and gives their logits for each feed, flat, by
 * onnxruntime.
 */
export async function onnxruntimeLogits(
  models: readonly { readonly path: string; readonly feeds: readonly Feed[] }[],
): Promise<number[][][]> {
  const folder = await Deno.makeTempDir();
  try {
    const request = models.map(({ path, feeds }, i) => ({
      path,
      feeds: feeds.map((feed, j) => {
        const file = join(folder, `${i}-${j}.safetensors`);
        writeSafetensors(file, feed);
        return file;
      }),
    }));
    const file = join(folder, "request.json");
    await Deno.writeTextFile(file, JSON.stringify(request));
    const { code, stdout, stderr } = await new Deno.Command(ONNX_PYTHON!, {
      args: [join(import.meta.dirname!, "peer.py"), file],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return JSON.parse(new TextDecoder().decode(stdout));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
