/**
 * Writes a value as JSON with sorted keys, so that equal values give equal
 * text. Properties that are undefined are left out, as `JSON.stringify()` does.
 *
 * @throws {TypeError} If the value holds what JSON cannot (`NaN`, a function, a `Date`).
 */
export function canonicalJson(value: unknown): string {
  return write(value, "$");
}

function write(value: unknown, path: string): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number" && Number.isFinite(value)) {
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) {
    return `[${value.map((item, i) => write(item, `${path}[${i}]`)).join()}]`;
  }
  if (isPlain(value)) {
    const members = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) =>
        `${JSON.stringify(key)}:${write(value[key], `${path}.${key}`)}`
      );
    return `{${members.join()}}`;
  }
  throw new TypeError(
    `"${path}" is ${
      typeof value === "object"
        ? Object.prototype.toString.call(value)
        : String(value)
    }, which JSON cannot hold`,
  );
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
