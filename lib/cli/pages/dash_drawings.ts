// The elements and the curves of the page of "deno task dash".
/// <reference lib="dom" />

/** A value of a metric. */
export type Point = readonly [step: number, value: number];

type Attributes = Readonly<Record<string, string | number>>;

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
