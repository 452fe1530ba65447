import type { StageGroup } from "../../pipeline/graph.ts";
import { escapeHtml } from "../../report/format.ts";
import { clip } from "../terminal/messages.ts";

/** Sizes in pixels: a box, the column between two boxes, the name in a box. */
const SIZE = { width: 144, gap: 28, name: 26 } as const;

/** Longest name that fits into a box, in letters. */
const LETTERS = 18;

/** What a box of the graph shows below its name. */
export interface BoxContent {
  readonly height: number;
  /** Elements of SVG, with the left upper corner of the box as origin. */
  readonly svg: string;
}

/**
 * Draws the stages of a pipeline as SVG: a box for each name, right of those
 * that it needs.
 */
export function stageGraph(
  groups: readonly StageGroup[],
  contentOf: (group: StageGroup) => BoxContent,
): string {
  const bottoms: number[] = [];
  const boxes = groups.map((group) => {
    const { svg, height } = contentOf(group);
    const y = bottoms[group.depth] ?? 1;
    bottoms[group.depth] = y + SIZE.name + height + 12;
    const x = 1 + group.depth * (SIZE.width + SIZE.gap);
    return { ...group, svg, x, y, height: SIZE.name + height };
  });
  const total = Math.max(0, ...bottoms.map((it) => it ?? 0));
  const placed = new Map(boxes.map((box) => {
    // Columns are centred.
    const y = box.y + (total - bottoms[box.depth]!) / 2;
    return [box.name, { ...box, y, middle: y + box.height / 2 }];
  }));
  const edges = [...placed.values()].flatMap(({ needs, x, middle }) =>
    needs.map((need) => {
      const from = placed.get(need)!;
      const start = from.x + SIZE.width;
      const a = start + SIZE.gap / 2;
      const b = x - SIZE.gap / 2;
      return `<path d="M${start} ${from.middle}C${a} ${from.middle} ${b} ${middle} ${x} ${middle}"/>`;
    })
  ).join("");
  const drawn = [...placed.values()].map(({ name, svg, x, y, height }) => {
    const shown = escapeHtml(clip(name, LETTERS));
    return `<g transform="translate(${x} ${y})"><rect class="box" width="${SIZE.width}" height="${height}" rx="6"/>${svg}<text x="8" y="18">${shown}</text></g>`;
  }).join("");
  const width = bottoms.length * (SIZE.width + SIZE.gap) - SIZE.gap + 2;
  return `<svg class="graph" role="group" aria-label="Stages of the pipeline and what each needs" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}">${edges}${drawn}</svg>`;
}

/** A line of text, before a bar that fills a share of the box. */
export function barContent(text: string, share: number): BoxContent {
  const height = 18;
  const width = SIZE.width * share;
  const whole = SIZE.name + height;
  const words = escapeHtml(text);
  return {
    height,
    svg:
      `<rect class="share" width="${width}" height="${whole}" rx="6"/><text class="quiet" x="8" y="35">${words}</text>`,
  };
}

const GLYPHS = { done: "✓", running: "▶", failed: "✕", waiting: "·" };

/** A stage in the graph of `dash`. */
export interface DrawnStage {
  readonly id: string;
  readonly state: keyof typeof GLYPHS;
  /** Why it waits or has failed. */
  readonly reason?: string | undefined;
}

/**
 * A cell for each stage, which tells its state and can be chosen by its
 * attribute `data-stage`.
 */
export function cellContent(stages: readonly DrawnStage[]): BoxContent {
  const across = Math.floor((SIZE.width - 12) / 20);
  const cells = stages.map(({ id, state, reason }, i) => {
    const x = 8 + i % across * 20;
    const y = SIZE.name + Math.floor(i / across) * 19;
    const words = [id, state, reason].filter((it) => it !== undefined)
      .map(escapeHtml).join(", ");
    const name = escapeHtml(id);
    const glyph = GLYPHS[state];
    return `<g class="cell ${state}" transform="translate(${x} ${y})" tabindex="0" role="button" aria-label="${words}" data-stage="${name}"><title>${words}</title><rect width="16" height="16" rx="3"/><text x="8" y="12">${glyph}</text></g>`;
  });
  return {
    height: Math.ceil(stages.length / across) * 19 + 5,
    svg: cells.join(""),
  };
}
