/** The most milliseconds that the runtime's own timers can count: 24 days. */
const LONGEST = 2 ** 31 - 1;

/** Something that is to happen. */
export interface Timer {
  /** Makes it not happen. */
  end(): void;
}

/** Calls something after so many seconds, also if that is months away. */
export function startTimer(seconds: number, ring: () => void): Timer {
  const due = performance.now() + seconds * 1000;
  let timer: ReturnType<typeof setTimeout>;
  const wait = () => {
    const left = due - performance.now();
    timer = left > LONGEST
      ? setTimeout(wait, LONGEST)
      : setTimeout(ring, Math.max(0, left));
  };
  wait();
  return { end: () => clearTimeout(timer) };
}
