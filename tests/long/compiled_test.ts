import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import { keepCompiled } from "../../lib/engine/tensorflow/compiled.ts";
import { engineName } from "../engine/engine.ts";

const PROCESS = fileURLToPath(new URL("compiling.ts", import.meta.url));

/** Two folders, one with a space and quotes in its name. */
function folders() {
  const root = Deno.makeTempDirSync();
  return {
    kept: join(root, "compiled", "engine"),
    folder: (name: string) => join(root, `a "b" ${name}`),
    [Symbol.dispose]: () => Deno.removeSync(root, { recursive: true }),
  };
}

/** Variables of the process; the library of this one sets others. */
const ENV = Object.fromEntries(
  ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME", "DYLORA_CACHE"]
    .map((name) => [name, Deno.env.get(name)])
    .filter(([, value]) => value !== undefined),
);

/** Takes the right to read everything from a program that root runs. */
const UNPRIVILEGED = Deno.uid() === 0
  ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
  : [];

/**
 * Runs the process, and returns the hash of what it computes, and a number of
 * files.
 */
async function compute(
  times: number,
  ...folders: string[]
): Promise<{ hash: string; files: number }> {
  const [program, ...args] = [...UNPRIVILEGED, Deno.execPath()];
  const { success, stdout, stderr } = await new Deno.Command(program!, {
    args: [
      ...args,
      ...["run", "-A", "--no-check", PROCESS, `${times}`, ...folders],
    ],
    env: ENV,
    clearEnv: true,
    stdin: "null",
  }).output();
  const [text, errors] = [stdout, stderr].map((bytes) =>
    new TextDecoder().decode(bytes).trim()
  );
  assert(success, errors);
  assert(!errors!.includes("Error"), errors);
  const [hash, files] = text!.split(" ");
  return { hash: hash!, files: Number(files) };
}

/** What a process has compiled: the number of files of each function. */
function compiledIn(folder: string): number[] {
  const functions = join(folder, "functions");
  return [...Deno.readDirSync(functions)].map(({ name }) =>
    [...Deno.readDirSync(join(functions, name))].length
  );
}

/** Files of all functions that are kept. */
function keptFiles(kept: string): string[] {
  return [...Deno.readDirSync(kept)].flatMap(({ name }) =>
    [...Deno.readDirSync(join(kept, name))]
      .map((file) => join(kept, name, file.name))
  );
}

Deno.test({
  name:
    "startEngine() loads what an earlier process has compiled, with the same results, and compiles what is damaged or cannot be read",
  ignore: engineName !== "tensorflow",
  async fn() {
    await (await selectEngine("tensorflow")).prepare();
    using at = folders();
    const { kept } = at;
    const alone = compute(2);
    const first = await compute(2, kept, at.folder("1"));
    // One file each: what is called twice is compiled once, and by itself as it
    // is within.
    assertEquals(first, { hash: (await alone).hash, files: 2 });
    assertEquals(compiledIn(at.folder("1")), [1, 1]);
    keepCompiled({ before: kept, now: at.folder("1") });

    assertEquals(await compute(2, kept, at.folder("2")), first);
    assertEquals(compiledIn(at.folder("2")), [0, 0]);
    keepCompiled({ before: kept, now: at.folder("2") });
    // Another function that calls the same ones.
    assertEquals(await compute(3, kept, at.folder("three")), first);
    assertEquals(compiledIn(at.folder("three")), [0, 0]);

    const files = keptFiles(kept).filter((path) => path.endsWith(".pb"));
    assertEquals(files.length, 2);
    const bytes = Deno.readFileSync(files[0]!);
    const damaged = bytes.slice();
    damaged[damaged.length >> 1]! ^= 1;
    Deno.writeFileSync(files[0]!, damaged);
    assertEquals(await compute(2, kept, at.folder("3")), first);
    assertEquals(compiledIn(at.folder("3")).sort(), [0, 1]);
    keepCompiled({ before: kept, now: at.folder("3") });
    assertEquals(await compute(2, kept, at.folder("4")), first);
    assertEquals(compiledIn(at.folder("4")), [0, 0]);

    for (const { name } of Deno.readDirSync(kept)) {
      Deno.chmodSync(join(kept, name), 0o000);
    }
    assertEquals(await compute(2, kept, at.folder("5")), first);
    assertEquals(compiledIn(at.folder("5")), [1, 1]);
  },
});

Deno.test("keepCompiled() removes what was used least recently, and takes only files of functions", () => {
  using at = folders();
  const { kept } = at;
  const nameOf = (digit: string) => `traced_${digit.repeat(32)}`;
  const used = (digit: string, ...names: string[]) => {
    const functions = join(at.folder(digit), "functions");
    for (const name of names) {
      const folder = join(functions, name);
      Deno.mkdirSync(folder, { recursive: true });
      Deno.writeFileSync(join(folder, "a.pb"), new Uint8Array(1000));
      Deno.symlinkSync("/etc/hostname", join(folder, "b.pb"));
    }
    return { before: kept, now: at.folder(digit) };
  };
  const all = () => [...Deno.readDirSync(kept)].map(({ name }) => name).sort();
  keepCompiled({ before: kept, now: at.folder("none") });
  keepCompiled(used("1", nameOf("1"), "..evil", nameOf("2")));
  assertEquals(all(), [nameOf("1"), nameOf("2")]);
  const zeros = createHash("sha256").update(new Uint8Array(1000)).digest("hex");
  assertEquals(
    keptFiles(kept).map((path) => path.slice(path.lastIndexOf("/"))),
    [`/${zeros}.a.pb`, `/${zeros}.a.pb`],
  );
  for (const path of keptFiles(kept)) Deno.utimeSync(path, 1, 1);
  // A process that used one of them has left an empty folder.
  Deno.mkdirSync(join(at.folder("2"), "functions", nameOf("2")), {
    recursive: true,
  });
  keepCompiled({ before: kept, now: at.folder("2") });
  keepCompiled(used("3", nameOf("3")), 2500);
  assertEquals(all(), [nameOf("2"), nameOf("3")]);
});
