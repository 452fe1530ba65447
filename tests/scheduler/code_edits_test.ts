/** Random edits of a module, and whether what is bundled of it changes. */
import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { stop, transform } from "esbuild";
import { withoutComments } from "../../lib/scheduler/module_code.ts";
import { compiled, type Module } from "../../lib/scheduler/module_graph.ts";

/**
 * A module with marks where types can be inserted: `§g` type parameters, `§t`
 * annotations, `§a` assertions, `§s` statements, `§i` imports.
 */
const SOURCE = `§i import { log } from "./log.ts" ; §s
export const rate §t = 0.5 ;
let count §t = 3 ; §s
function unused §g ( x §t ) §t { return ( x §a ) * 4 ; }
export function step §g ( loss §t , scale §t = 2 ) §t {
  const text §t = "sum of losses" ; §s
  if ( ( loss §a ) > 10 && scale !== 2 ) count += 1 ;
  for ( const item of [ 1 , 2 , ( 3 §a ) ] ) count *= count - item % 7 ;
  log ( text , { rate , of : [ ( count §a ) <= 5 || loss === 6 ] } ) ;
  return ( loss §a ) / scale + rate * count + text . length ;
} §i`;
const TOKENS = SOURCE.match(/"[^"]*"|\S+/g)!;

const KEYWORDS = "import from export const let function if for of return".split(
  " ",
);
/** Operators that can replace each other. */
const OPERATORS = ["+ - * / %", "> < >= <= === !==", "&& ||", "+= -= *="]
  .map((group) => group.split(" "));

const type = fc.letrec<{ type: string }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 2 },
    fc.constantFrom("number", "'a'", "typeof rate", "import('./t.ts').T"),
    tie("type").map((of) => `(${of})[]`),
    tie("type").map((of) => `{ readonly a?: ${of}; [key: string]: unknown }`),
    tie("type").map((of) => `((x: ${of}) => asserts x is ${of})`),
    tie("type").map((of) => `Map<string, ${of} | undefined>`),
  ),
})).type;

/** What can be inserted at each mark. */
const AT_MARK: Readonly<Record<string, fc.Arbitrary<string>>> = {
  "§g": type.map((of) => `<T extends ${of}, const U = ${of}>`),
  "§t": type.map((of) => `: ${of}`),
  "§a": fc.oneof(
    type.map((of) => `as ${of}`),
    type.map((of) => `satisfies ${of}`),
    fc.constant("!"),
  ),
  "§s": fc.oneof(
    type.map((of) => `interface I { a: ${of} }`),
    type.map((of) => `type A<T> = T extends ${of} ? T : never;`),
    type.map((of) => `declare function f(x: ${of}): void;`),
  ),
  "§i": fc.constant("import type { Other } from './other.ts';"),
};

const comment = fc.oneof(
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.constantFrom("@__PURE__", "#__NO_SIDE_EFFECTS__", "! legal", "@license x"),
  fc.constantFrom(
    "count = 9;",
    "// x",
    "# sourceMappingURL=x.map",
    "@ts-ignore",
  ),
);
const inLine = fc.oneof(
  fc.constantFrom(" ", "\t", "\u00a0"),
  comment.map((text) => `/*${text.replaceAll(/[*\n\r\u2028\u2029]/g, "")}*/`),
);
const gap = fc.oneof(
  inLine,
  fc.constantFrom("\n", "\r\n", "\u2028"),
  comment.map((text) => `/*${text.replaceAll("*", "")}\n*/`),
  comment.map((text) => `//${text.replaceAll(/[\n\r\u2028\u2029]/g, "")}\n`),
);

/** A place in the module, and what to insert or put there. */
type Piece = readonly [at: number, text: string];

const place = fc.nat(TOKENS.length - 1);

/** Inserts random comments, white space and types. */
const rewriting: fc.Arbitrary<Piece[]> = fc.array(
  place.chain((at) => {
    const mark = AT_MARK[TOKENS[at]!];
    // A line break can end a statement.
    const whole = TOKENS[at - 1] === "return" || TOKENS[at] === "§a";
    return fc.tuple(fc.constant(at), mark ?? (whole ? inLine : gap));
  }),
  { maxLength: 12 },
);

/** Replaces one token: a literal, an operator or an identifier. */
const edit = fc.constantFrom(
  ...TOKENS.keys().filter((at) => othersOf(TOKENS[at]!) !== undefined),
).chain((at): fc.Arbitrary<Piece> =>
  fc.tuple(fc.constant(at), othersOf(TOKENS[at]!)!)
);

/** Possible replacements of a token. */
function othersOf(token: string): fc.Arbitrary<string> | undefined {
  const group = OPERATORS.find((group) => group.includes(token));
  if (group !== undefined) {
    return fc.constantFrom(...group.filter((other) => other !== token));
  }
  if (token.startsWith('"')) {
    return fc.string({ unit: "binary" }).map((text) => JSON.stringify(text))
      .filter((text) => text !== token);
  }
  if (/^\d/.test(token)) {
    return fc.oneof(fc.nat(), fc.double({ min: 0, noNaN: true, max: 1e9 }))
      .filter((value) => value !== Number(token)).map(String);
  }
  return /^[a-z]+$/.test(token) && !KEYWORDS.includes(token)
    ? fc.constantFrom("other", "$", "élan", `${token}2`)
    : undefined;
}

/** What is bundled of modules. */
async function bare(sources: readonly string[]): Promise<string[]> {
  const modules = sources.map((_, i): Module => ({
    specifier: `${i}`,
    local: `/${i}.ts`,
    mediaType: "TypeScript",
  }));
  const contentOf = ({ specifier }: Module) =>
    new TextEncoder().encode(sources[Number(specifier)]);
  const options = { project: {}, members: new Map() };
  const codes = (await compiled(modules, contentOf, options)).values();
  const found = await Promise.all(codes.map(async (code) => {
    const text = await withoutComments(code, "/module.ts", false);
    return (await transform(text, { charset: "utf8" })).code; // As the bundle prints it.
  }));
  await stop();
  return found;
}

/** The module with these edits. */
function written(rewriting: readonly Piece[], edit?: Piece): string {
  const tokens = TOKENS.map((token) => token.startsWith("§") ? "" : token);
  if (edit !== undefined) tokens[edit[0]] = edit[1];
  for (const [at, text] of rewriting) {
    const old = TOKENS[at]!.startsWith("§") ? "" : ` ${tokens[at]}`;
    tokens[at] = text + old;
  }
  return tokens.join(" ");
}

Deno.test("compiled() and withoutComments() ignore random comments, white space and types", async () => {
  const sources = fc.sample(rewriting, 300).map((it) => written(it));
  const [plain, ...found] = await bare([written([]), ...sources]);
  found.forEach((it, i) => assertEquals(it, plain, sources[i]));
});

Deno.test("compiled() and withoutComments() notice every random edit of a literal, an operator or an identifier", async () => {
  const sources = fc.sample(fc.tuple(rewriting, edit), 300)
    .map(([rewriting, edit]) => written(rewriting, edit));
  const [plain, ...found] = await bare([written([]), ...sources]);
  found.forEach((it, i) => assertNotEquals(it, plain, sources[i]));
});
