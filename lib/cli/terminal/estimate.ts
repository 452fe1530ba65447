import type { Event } from "../../scheduler/events.ts";
import { type Forecast, Pace } from "../../scheduler/forecast.ts";
import { writeAll } from "../../files/files.ts";
import { about, progressText } from "./messages.ts";

/**
 * Shows progress on standard error, if it is a terminal, once a second after
 * the first, and removes it at the end.
 */
export function progressLine(): (event: Event) => void {
  const pace = new Pace(Date.now(), undefined);
  let shown = pace.since;
  return (event) => {
    if (event.type !== "progress" || !Deno.stderr.isTerminal()) return;
    const now = Date.now();
    pace.update(event, now);
    const isEnd = event.done >= event.total;
    if (isEnd ? shown === pace.since : now - shown < 1000) return;
    shown = now;
    const left = pace.left(now);
    const time = left === undefined ? "" : `, ${about(left)} left`;
    const text = isEnd ? "" : progressText(event) + time;
    writeAll(Deno.stderr, `\r\x1b[K${text}`);
  };
}

/** The time left of a run: `over 2 min left` */
export function leftText(left: NonNullable<ReturnType<Forecast["left"]>>) {
  return `${left.isMinimum ? "over " : ""}${about(left.seconds)} left`;
}
