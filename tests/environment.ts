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

function set(name: string, value: string | undefined): void {
  if (value === undefined) Deno.env.delete(name);
  else Deno.env.set(name, value);
}
