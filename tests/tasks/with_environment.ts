/**
 * Calls a function while environment variables have other values; those without
 * one are deleted.
 */
export async function withEnvironment<T>(
  env: Readonly<Record<string, string | undefined>>,
  body: () => Promise<T> | T,
): Promise<T> {
  const before = Object.keys(env).map((name) =>
    [name, Deno.env.get(name)] as const
  );
  try {
    for (const [name, value] of Object.entries(env)) set(name, value);
    return await body();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}

function set(name: string, value: string | undefined): void {
  if (value === undefined) Deno.env.delete(name);
  else Deno.env.set(name, value);
}
