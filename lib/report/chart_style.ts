/** Vega parameter that holds the methods picked in the legend. */
const SHOWN = "shown";

/**
 * Parameter by which a click in the legend shows one method, and with the shift
 * key several.
 */
export const LEGEND_CHOICE = {
  name: SHOWN,
  select: { type: "point" as const, fields: ["method"] },
  bind: "legend" as const,
};

/**
 * Palette of Okabe and Ito (2008), safe for colour-blind readers, with the
 * colour of the text as its black; further methods reuse it with other dashes.
 */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
  "currentColor",
];

const DASHES = [[1, 0], [6, 3], [2, 2]];

const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"];

/**
 * Configuration of all figures. On a page, `currentColor` is the colour of its
 * text.
 */
const CONFIG = {
  background: "white",
  font: "system-ui, sans-serif",
  axis: {
    labelColor: "currentColor",
    titleColor: "currentColor",
    domainColor: "currentColor",
    tickColor: "currentColor",
    gridColor: "#88888844",
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: "normal",
  },
  legend: {
    labelColor: "currentColor",
    labelFontSize: 12,
    symbolSize: 80,
    symbolOpacity: 1,
  },
  text: { color: "currentColor", fontSize: 12 },
  view: { stroke: null },
} as const;

/** What the specifications of all figures have in common. */
export const FIGURE = {
  /** Width of a drawn figure with its axes, in pixels. */
  width: 640,
  autosize: { type: "fit-x", contains: "padding" },
  config: CONFIG,
} as const;

/**
 * Vega expression for the width of a figure's container. Unlike `width`, it
 * does not depend on the legend.
 */
const CONTAINER =
  `(isFinite(containerSize()[0]) ? containerSize()[0] : ${FIGURE.width})`;

/** Colours, dashes and shapes by method title. */
export function keysOf(titles: readonly string[]) {
  // As many columns as the longest title allows; a longer one is cut.
  const longest = Math.max(...titles.map(({ length }) => length));
  const key = <T>(rangeAt: (index: number) => T) => ({
    field: "method",
    type: "nominal",
    title: null,
    scale: {
      domain: [...titles],
      range: titles.map((_, index) => rangeAt(index)),
    },
    legend: {
      orient: "top",
      columns: {
        expr: `max(1, floor((${CONTAINER} - 60) / ${7 * longest + 40}))`,
      },
      labelLimit: { expr: "width - 30" },
    },
  } as const);
  const { length } = COLOURS;
  return {
    color: key((index) => COLOURS[index % length]!),
    strokeDash: key((index) =>
      DASHES[Math.floor(index / length) % DASHES.length]!
    ),
    shape: key((index) => SHAPES[index % SHAPES.length]!),
  };
}

/** Opacity of a method: small unless the reader picked it. */
export const FADED = {
  condition: { param: SHOWN, value: 1 },
  value: 0.12,
} as const;
