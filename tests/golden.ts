import { assertEquals } from "@std/assert";

/**
 * Expected texts of the tests in a file, each below its title:
 *
 *     <!-- title -->
 *
 *     text
 *
 * With `UPDATE_GOLDEN=1`, the file is written anew instead of compared with:
 * review the difference.
 */
export class GoldenFile {
  readonly #texts = new Map<string, string>();
  readonly #isUpdated = Deno.env.get("UPDATE_GOLDEN") === "1";

  constructor(readonly url: URL) {
    if (this.#isUpdated) return;
    const file = Deno.readTextFileSync(url).replaceAll("\r\n", "\n");
    const sections = file.slice(FIRST_LINE.length);
    for (const [, title, text] of sections.matchAll(SECTION)) {
      this.#texts.set(title!, text!);
    }
  }

  /** Compares a text with that of a title, exactly. */
  check(title: string, text: string): void {
    if (this.#isUpdated) {
      this.#texts.set(title, text);
      const sections = [...this.#texts]
        .map(([title, text]) => `\n<!-- ${title} -->\n\n${text}\n`);
      Deno.writeTextFileSync(this.url, FIRST_LINE + sections.join(""));
    }
    assertEquals(text, this.#texts.get(title), title);
  }
}

const FIRST_LINE = "<!-- deno-fmt-ignore-file -->\n";

/** Matches a section of the file; the groups are its title and its text. */
const SECTION = /^<!-- (.+) -->\n\n([^]*?)\n(?=\n<!-- |$(?![^]))/gm;
