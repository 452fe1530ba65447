import { assertEquals } from "@std/assert";
import { encodeText } from "../../lib/data/text_form.ts";

Deno.test("encodeText() writes what TextDecoder reads, in single bytes, UTF-8 and UTF-16, with and without a mark", () => {
  for (const encoding of ["utf-8", "latin1", "utf-16le", "utf-16be"]) {
    const form = { delimiter: ",", encoding, hasMark: false };
    const text = "Größe – 5 €\n";
    const decoder = new TextDecoder(encoding, { ignoreBOM: true });
    assertEquals(decoder.decode(encodeText(text, form)), text);
    if (encoding === "latin1") continue;
    const marked = encodeText(text, { ...form, hasMark: true });
    assertEquals(decoder.decode(marked), `\ufeff${text}`);
  }
  const latin1 = { delimiter: ",", encoding: "latin1", hasMark: false };
  assertEquals(encodeText("→", latin1), undefined);
});
