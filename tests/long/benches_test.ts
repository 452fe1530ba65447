import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../bench/main.ts", import.meta.url));

/**
 * The smallest form of each benchmark that needs no other program and no data.
 */
const BENCHES: Readonly<Record<string, readonly string[]>> = {
  first: ["--only", "tiny 16x32", "--precision", "f32", "--runs", "1"],
  profile: ["--only", "tiny 16x32", "--precision", "f32"],
  stage: ["--rounds", "1", "--stages", "2"],
  pipeline: ["--only", "ours", "--stages", "8", "--runs", "1"],
};

for (const [name, args] of Object.entries(BENCHES)) {
  Deno.test(`deno task bench ${name} times its work and prints a row per measurement`, async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", MAIN, name, ...args, "--json"],
      stdin: "null",
    }).output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assertEquals(code, 0, decode(stderr));
    const rows = decode(stdout).split("\n").filter((line) =>
      line.startsWith("{")
    );
    assert(rows.length > 0, decode(stdout));
    for (const row of rows) JSON.parse(row);
  });
}
