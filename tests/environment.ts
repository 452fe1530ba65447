/**
 * Gives environment variables other values until the result is disposed; those
 * without a value are deleted.
 */
export function setEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Disposable {
  const before = Object.keys(env).map((name) =>
    [name, Deno.env.get(name)] as const
  );
  for (const [name, value] of Object.entries(env)) set(name, value);
  return {
    [Symbol.dispose]() {
      for (const [name, value] of before) set(name, value);
    },
  };
}

/** Calls a function while environment variables have other values. */
export async function withEnvironment<T>(
  env: Readonly<Record<string, string | undefined>>,
  body: () => Promise<T> | T,
): Promise<T> {
  using _env = setEnvironment(env);
  return await body();
}

/** Lets `Deno.stdout` be a terminal, or none, until the result is disposed. */
export function setTerminal(isTerminal: boolean): Disposable {
  const before = Deno.stdout.isTerminal;
  Deno.stdout.isTerminal = () => isTerminal;
  return {
    [Symbol.dispose]() {
      Deno.stdout.isTerminal = before;
    },
  };
}

/** Registers that in each test of a file `Deno.stdout` is no terminal. */
export function withoutTerminal(): void {
  let none: Disposable;
  Deno.test.beforeEach(() => {
    none = setTerminal(false);
  });
  Deno.test.afterEach(() => none[Symbol.dispose]());
}

function set(name: string, value: string | undefined): void {
  if (value === undefined) Deno.env.delete(name);
  else Deno.env.set(name, value);
}
