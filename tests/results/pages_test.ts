import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { FOLDER, Kept, pageOf } from "./pages.ts";

const kept = [...Deno.readDirSync(FOLDER)]
  .flatMap(({ name }) => /^(.+)\.json$/.exec(name)?.[1] ?? []);

Deno.test("the pages of reports that were kept have their numbers", () => {
  assert(kept.length > 0);
  for (const name of kept) {
    const path = join(FOLDER, name);
    const report = Kept.parse(
      JSON.parse(Deno.readTextFileSync(`${path}.json`)),
    );
    assertEquals(Deno.readTextFileSync(`${path}.md`), pageOf(name, report));
  }
});
