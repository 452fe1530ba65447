import { assert, assertEquals } from "@std/assert";
import { digest } from "../../lib/store/digest.ts";
import { Usage } from "../../lib/store/histories.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

/** A program that notes one run after another. */
const NOTING = (name: string) =>
  `const { Usage } = await import(${
    JSON.stringify(import.meta.resolve("../../lib/store/histories.ts"))
  });
   const { digest } = await import(${
    JSON.stringify(import.meta.resolve("../../lib/store/digest.ts"))
  });
   const usage = new Usage(Deno.args[0]);
   for (let i = 0; i < 5; i++) await usage.record("p", [digest("${name}" + i)]);`;

Deno.test("Usage.record() loses no run of two processes that note theirs at once", async () => {
  using folder = new TemporaryFolder();
  const names = ["a", "b"];
  await Promise.all(names.map(async (name) => {
    const program = folder.write(`${name}.js`, NOTING(name));
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", program, folder.join("used")],
    }).output();
    assert(success);
  }));
  const wanted = names.flatMap((name) =>
    [0, 1, 2, 3, 4].map((i) => digest(name + i))
  );
  assertEquals(
    [...new Usage(folder.join("used")).keys()].sort(),
    wanted.sort(),
  );
});
