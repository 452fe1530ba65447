import type { Span } from "../data/example.ts";

/**
 * A change of a text: what replaces its units from `start` up to, and without,
 * `end`.
 */
export type Edit = readonly [start: number, end: number, content: string];

/**
 * A text made from another and, if they are asked for, the spans there of each
 * of its UTF-16 units.
 */
export class AlignedText {
  constructor(
    readonly text: string,
    readonly spans?: readonly Span[],
  ) {}

  /** A text with its own spans. */
  static placed(text: string): AlignedText {
    const spans = Array.from(
      text.matchAll(/./gsu),
      ({ index, 0: { length } }) =>
        Array<Span>(length).fill([index, index + length]),
    );
    return new AlignedText(text, spans.flat());
  }

  /**
   * Where a part of it stands in the original text, without white space around
   * it.
   */
  spanOf(start: number, end: number, original: string): Span {
    let from = this.spans![start]![0];
    let to = this.spans![end - 1]![1];
    while (from < to && /\s/.test(original[from]!)) from++;
    while (from < to && /\s/.test(original[to - 1]!)) to--;
    return [from, to];
  }

  slice(start: number, end?: number): AlignedText {
    return new AlignedText(
      this.text.slice(start, end),
      this.spans?.slice(start, end),
    );
  }

  /**
   * The text with changes in ascending order; new content stands for the last
   * unit that it replaces, or the one that it precedes.
   */
  edit(edits: readonly Edit[]): AlignedText {
    const { spans } = this;
    if (edits.length === 0) return this;
    const parts: AlignedText[] = [];
    let last = 0;
    for (const [start, end, content] of edits) {
      const span = spans?.[Math.max(start, end - 1)] ?? spans?.at(-1);
      const contentSpans = span && Array<Span>(content.length).fill(span);
      parts.push(this.slice(last, start));
      parts.push(new AlignedText(content, contentSpans));
      last = end;
    }
    parts.push(this.slice(last));
    return new AlignedText(
      parts.map(({ text }) => text).join(""),
      spans && parts.flatMap((it) => it.spans ?? []),
    );
  }

  /**
   * The text changed by a function that changes each character, or each
   * grapheme, by itself.
   *
   * @throws {RangeError} If spans are asked for and it does not.
   */
  map(change: (text: string) => string): AlignedText {
    const { text, spans } = this;
    const after = change(text);
    if (spans === undefined || after === text) {
      return new AlignedText(after, spans);
    }
    const characters = [...text];
    const graphemes = Array.from(
      segmenter.segment(text),
      ({ segment }) => segment,
    );
    const parts = [characters, graphemes].find((it) =>
      it.map(change).join("") === after
    );
    if (parts === undefined) {
      throw new RangeError(
        "The normalizer changes characters by their neighbours, so tokens have no spans in the text",
      );
    }
    const changed: Span[] = [];
    let end = 0;
    for (const part of parts) {
      /** Where each of the old characters starts. */
      const starts: number[] = [];
      for (const { length } of part) {
        starts.push(end);
        end += length;
      }
      // Each new character stands for one of the old, those left for the last.
      for (const [i, { length }] of [...change(part)].entries()) {
        const start = starts[Math.min(i, starts.length - 1)]!;
        for (let unit = 0; unit < length; unit++) changed.push(spans[start]!);
      }
    }
    return new AlignedText(after, changed);
  }
}

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
