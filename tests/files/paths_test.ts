import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { posix } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  basename,
  dirname,
  fromFileUrl,
  join,
  relative,
  resolve,
} from "../../lib/files/paths.ts";

const name = fc.oneof(
  fc.constantFrom("..", ".", "", "a", "b", "a b", "...", "ä", ".hidden"),
  fc.string({ unit: "binary", minLength: 1, maxLength: 4 })
    .filter((text) => !/[/\0]/.test(text)),
);
const path = fc.array(name, { maxLength: 6 }).map((parts) => parts.join("/"));
const absolute = path.map((it) => `/${it}`);

/** Node keeps a slash at the end. */
function withoutSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

Deno.test("join() equals node:path on POSIX, apart from a slash at the end", () => {
  fc.assert(fc.property(fc.array(path, { maxLength: 4 }), (parts) => {
    assertEquals(join(...parts), withoutSlash(posix.join(...parts)));
  }));
});

Deno.test("resolve() and relative() equal node:path on POSIX", () => {
  fc.assert(fc.property(absolute, path, absolute, (folder, path, other) => {
    assertEquals(resolve(folder, path), posix.resolve(folder, path));
    assertEquals(relative(folder, other), posix.relative(folder, other));
  }));
});

Deno.test("dirname() and basename() equal node:path on POSIX", () => {
  fc.assert(fc.property(path.map(posix.normalize).map(withoutSlash), (path) => {
    assertEquals(dirname(path), posix.dirname(path));
    assertEquals(basename(path), posix.basename(path));
  }));
});

Deno.test("fromFileUrl() equals fileURLToPath()", () => {
  fc.assert(
    fc.property(absolute.filter((it) => it.isWellFormed()), (path) => {
      const url = pathToFileURL(path).href;
      assertEquals(fromFileUrl(url), fileURLToPath(url));
    }),
  );
});
