let lastBreath = performance.now();

/** Lets timers, signals and messages in, now and then: a step blocks the thread. */
export async function breathe(): Promise<void> {
  if (performance.now() - lastBreath < 100) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  lastBreath = performance.now();
}
