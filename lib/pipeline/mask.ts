/**
 * Lets references stand unquoted anywhere in a pipeline file.
 *
 * `${params.tasks}` and `tokenize[glue, seed]` are plain text in block style,
 * but in flow style (`{ glue: ${params.tasks} }`) YAML takes their brackets
 * for its own. So before the file is parsed these brackets are replaced, one
 * for one, by characters of the private use area, and put back in each
 * scalar: offsets stay what they are. Valid YAML keeps its meaning, since a
 * bracket that follows a word directly is an error there.
 */
const MASKS: readonly (readonly [string, string])[] = [
  ["{", "\ue000"],
  ["}", "\ue001"],
  ["[", "\ue002"],
  ["]", "\ue003"],
  [",", "\ue004"],
];

const MASKED = /[\ue000-\ue004]/;

/** `${...}` on one line, or a word with brackets directly after it. */
const REFERENCE = /\$\{[^{}\n#"']*\}|(?<=[\w-])\[[\w\-*, ]*\]/g;

/** Offset of a character that masks use for themselves, or -1. */
export function findMask(text: string): number {
  return text.search(MASKED);
}

export function mask(text: string): string {
  return text.replace(REFERENCE, (reference) => {
    for (const [plain, masked] of MASKS) {
      reference = reference.replaceAll(plain, masked);
    }
    return reference;
  });
}

export function unmask(text: string): string {
  if (!MASKED.test(text)) return text;
  for (const [plain, masked] of MASKS) text = text.replaceAll(masked, plain);
  return text;
}
