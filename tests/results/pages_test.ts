import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  differencesPage,
  FOLDER,
  keptNames,
  pageOf,
  readKept,
} from "./pages.ts";

const textOf = (name: string) =>
  Deno.readTextFileSync(join(FOLDER, `${name}.md`));

Deno.test("the pages of reports that were kept have their numbers", () => {
  assert(keptNames().length > 0);
  for (const name of keptNames()) {
    assertEquals(textOf(name), pageOf(name, readKept(name)));
  }
  assertEquals(textOf("differences"), differencesPage());
});
