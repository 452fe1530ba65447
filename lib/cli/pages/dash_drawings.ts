// What the page of "deno task dash" draws: the graph of stages and the curves of metrics.
/// <reference lib="dom" />
import type { DashState, StageState } from "./dash_state.ts";

/** A value of a metric. */
export type Point = readonly [step: number, value: number];

type Attributes = Readonly<Record<string, string | number>>;

const GLYPHS = { done: "✓", running: "▶", failed: "✕", waiting: "·" };

/** An element with children, behind its attributes if it has any; texts are never read as HTML. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  ...parts: (Attributes | Node | string)[]
): HTMLElementTagNameMap[Name] {
  const isChild = (it: typeof parts[number]) =>
    typeof it === "string" || it instanceof Node;
  const attributes = parts.find((it) => !isChild(it)) as Attributes | undefined;
  return filled(
    document.createElement(name),
    attributes ?? {},
    parts.filter(isChild) as (Node | string)[],
  );
}

/** An element of a drawing. */
function drawn(
  name: string,
  attributes: Attributes = {},
  ...children: (Node | string)[]
) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  return filled(made, attributes, children);
}

function filled<E extends Element>(
  made: E,
  attributes: Attributes,
  children: readonly (Node | string)[],
): E {
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

/** A box of the graph: as wide as the window allows, within limits. */
const BOX = { narrow: 120, wide: 176, gap: 32, cell: 16, head: 24 };

/**
 * The graph of stages: a box for each name, with a cell for each stage.
 *
 * @param groups The stages by name
 * @param all The stages with their states
 * @param room Width of the window in pixels
 * @param choose Called with the id of a stage whose cell is chosen
 */
export function graph(
  groups: DashState["groups"],
  all: DashState["stages"],
  room: number,
  choose: (id: string) => void,
) {
  const byId = new Map(all.map((stage) => [stage.id, stage]));
  const across = Math.max(0, ...groups.map(({ depth }) => depth)) + 1;
  const free = room - 8 - (across - 1) * BOX.gap;
  const boxWidth = Math.min(
    BOX.wide,
    Math.max(BOX.narrow, Math.floor(free / across)),
  );
  const letters = Math.floor((boxWidth - 16) / 6.6);
  const cells = Math.floor((boxWidth - 12) / (BOX.cell + 4));
  const svg = drawn("svg", { role: "group", "aria-label": "Stages" });
  const places = new Map<string, { x: number; y: number; height: number }>();
  const heights: number[] = [];
  for (const { name, stages, depth } of groups) {
    const lines = Math.ceil(stages.length / cells);
    const height = BOX.head + lines * (BOX.cell + 3) + 8;
    const y = heights[depth] ?? 4;
    heights[depth] = y + height + 12;
    places.set(name, { x: 4 + depth * (boxWidth + BOX.gap), y, height });
  }
  for (const { name, needs } of groups) {
    const to = places.get(name)!;
    for (const need of needs) {
      const from = places.get(need)!;
      const [x1, y1] = [from.x + boxWidth, from.y + from.height / 2];
      const [x2, y2] = [to.x, to.y + to.height / 2];
      const bend = BOX.gap / 2;
      svg.append(drawn("path", {
        class: "edge",
        d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
      }));
    }
  }
  for (const { name, stages } of groups) {
    const { x, y, height } = places.get(name)!;
    svg.append(
      drawn("rect", { class: "box", x, y, width: boxWidth, height, rx: 5 }),
      drawn(
        "text",
        { x: x + 8, y: y + 16 },
        name.length > letters ? `${name.slice(0, letters - 1)}…` : name,
      ),
    );
    stages.forEach((id, i) => {
      const left = x + 8 + (i % cells) * (BOX.cell + 4);
      const top = y + BOX.head + Math.floor(i / cells) * (BOX.cell + 3);
      svg.append(cell(byId.get(id)!, left, top, choose));
    });
  }
  const width = 8 + across * (boxWidth + BOX.gap) - BOX.gap;
  const height = Math.max(0, ...heights.filter((it) => it !== undefined));
  svg.setAttribute("width", String(width));
  svg.setAttribute("height", String(height));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return svg;
}

/** A stage in the graph. */
function cell(
  stage: StageState,
  x: number,
  y: number,
  choose: (id: string) => void,
) {
  const words = [stage.id, stage.state, stage.reason]
    .filter((it) => it !== undefined).join(", ");
  const made = drawn(
    "g",
    {
      class: `cell ${stage.state}`,
      tabindex: 0,
      role: "button",
      "aria-label": words,
      "data-stage": stage.id,
    },
    drawn("title", {}, words),
    drawn("rect", { x, y, width: BOX.cell, height: BOX.cell, rx: 3 }),
    drawn("text", { x: x + BOX.cell / 2, y: y + 12 }, GLYPHS[stage.state]),
  );
  made.addEventListener("click", () => choose(stage.id));
  made.addEventListener("keydown", (event) => {
    const { key } = event as KeyboardEvent;
    if (key === "Enter" || key === " ") choose(stage.id);
  });
  return made;
}

/** A curve with its axes, and the value at the pointer. */
export function curve(points: readonly Point[], metric: string) {
  const [width, height, left, bottom] = [300, 110, 40, 16] as const;
  const steps = points.map(([step]) => step);
  const values = points.map(([, value]) => value);
  const [first, last] = [steps[0]!, steps.at(-1)!];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (step: number) =>
    left + (width - left - 4) * (step - first) / (last - first || 1);
  const y = (value: number) =>
    height - bottom - (height - bottom - 8) * (value - low) / (high - low || 1);
  const caption = drawn("text", {
    class: "quiet",
    x: width - 4,
    y: height - 3,
    "text-anchor": "end",
  });
  const dot = drawn("circle", { r: 3 });
  const show = (i: number) => {
    const [step, value] = points[i]!;
    caption.textContent = `step ${step}: ${metric} ${value.toFixed(4)}`;
    dot.setAttribute("cx", String(x(step)));
    dot.setAttribute("cy", String(y(value)));
  };
  show(points.length - 1);
  const [from, to] = [values[0]!, values.at(-1)!].map((it) => it.toFixed(4));
  const base = height - bottom;
  const svg = drawn(
    "svg",
    {
      class: "curve",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label":
        `${metric} from ${from} at step ${first} to ${to} at step ${last}`,
    },
    drawn("line", { x1: left, x2: width - 4, y1: base, y2: base }),
    drawn("text", { class: "quiet", x: 0, y: 12 }, high.toPrecision(3)),
    drawn("text", { class: "quiet", x: 0, y: base }, low.toPrecision(3)),
    drawn("path", {
      d: points.map(([step, value], i) =>
        `${i === 0 ? "M" : "L"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`
      ).join(""),
    }),
    dot,
    caption,
  );
  svg.addEventListener("pointermove", (event) => {
    const { clientX } = event as PointerEvent;
    const box = svg.getBoundingClientRect();
    const at = (clientX - box.left) / box.width * width;
    let nearest = 0;
    steps.forEach((step, i) => {
      if (Math.abs(x(step) - at) < Math.abs(x(steps[nearest]!) - at)) {
        nearest = i;
      }
    });
    show(nearest);
  });
  svg.addEventListener("pointerleave", () => show(points.length - 1));
  return svg;
}
