/** `deno task bench NAME ...`: runs `tests/bench/NAME/bench.ts` with the rest of the arguments. */
const [name, ...args] = Deno.args;
const known = [...Deno.readDirSync(import.meta.dirname!)]
  .filter(({ name }) => exists(`${import.meta.dirname}/${name}/bench.ts`))
  .map(({ name }) => name).sort();
if (name === undefined || !known.includes(name)) {
  console.error(
    `Name a benchmark: ${known.map((name) => `"${name}"`).join(", ")}`,
  );
  Deno.exit(2);
}
const { bench } = await import(`./${name}/bench.ts`) as {
  bench: (args: string[]) => Promise<void>;
};
await bench(args);

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return false;
    throw error;
  }
}
