import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  differencesPage,
  FOLDER,
  keptNames,
  pageOf,
  readKept,
  SHOWN,
  shownFigure,
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

Deno.test("README.md shows the curve of a report that was kept", async () => {
  const readme = Deno.readTextFileSync(join(FOLDER, "../../README.md"));
  // Vega numbers the clips of a process.
  const withoutNumbers = (svg: string) => svg.replaceAll(/clip\d+/g, "clip");
  for (const theme of ["light", "dark"] as const) {
    const name = `${SHOWN}-${theme}.svg`;
    assert(readme.includes(`pipelines/results/${name}`));
    assertEquals(
      withoutNumbers(Deno.readTextFileSync(join(FOLDER, name))),
      withoutNumbers(await shownFigure(theme)),
    );
  }
});
