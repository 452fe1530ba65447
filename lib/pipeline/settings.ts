import type { Setting } from "./params.ts";
import { parseYaml } from "./tree.ts";

/**
 * Reads `train.lr=5e-4`: a dot path and a value, which has the type that it
 * would have in the file.
 *
 * @throws {Error} If it has another form.
 */
export function parseSetting(text: string): Setting {
  const equals = text.indexOf("=");
  const key = text.slice(0, Math.max(equals, 0));
  if (!/^\w[\w-]*(\.\w[\w-]*)*$/.test(key)) {
    throw new Error(
      `Setting "${text}" must have the form KEY=VALUE, such as "train.lr=5e-4"`,
    );
  }
  const value = text.slice(equals + 1);
  if (value.trim() === "") return { key, value };
  const { tree, faults } = parseYaml(value);
  if (tree === undefined) {
    throw new Error(
      `The value of setting "${text}" is no YAML: ${
        faults[0]?.message
      }; put quotes around text: -S ${key}='"..."'`,
    );
  }
  return { key, value: tree.value };
}
