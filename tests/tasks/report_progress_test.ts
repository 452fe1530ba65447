import { assertEquals } from "@std/assert";
import { progressReporter } from "../../lib/stages/training.ts";

Deno.test("progressReporter() holds a training against the fastest that was seen, be it the training itself", () => {
  const lines: string[] = [];
  const report = progressReporter({
    log: (line) => lines.push(line),
    metric: () => {},
    progress: () => {},
  }, 100e9);
  const given = {
    steps: 30,
    loss: 0.5,
    learningRate: 1e-3,
    rank: 3,
    msPerStep: 100,
    tokensPerSecond: 1000,
  };
  report({ ...given, step: 10, flopsPerSecond: 50e9 });
  report({ ...given, step: 20, flopsPerSecond: 200e9 });
  report({ ...given, step: 30, flopsPerSecond: 50e9 });
  const shares = lines.slice(1).map((line) => /(\d+) % of peak/.exec(line)![1]);
  assertEquals(shares, ["50", "100", "25"]);
});
