/** Characters of a text that a message shows. */
const LONGEST = 80;

/** A text out of a user's file for a message: in quotes, cut, and without what would play tricks on a terminal. */
export function quote(text: string): string {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
  return `"${cut.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\uFFFD")}"`;
}

/** Texts for a message: each in quotes, the first ten. */
export function quoteAll(texts: readonly string[]): string {
  const shown = texts.slice(0, 10).map(quote).join(", ");
  const more = texts.length - 10;
  return more > 0 ? `${shown} and ${more} more` : shown;
}
