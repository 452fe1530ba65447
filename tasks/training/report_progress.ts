import type { TrainingReport } from "../../lib/engine/training/hooks.ts";
import type { Stage } from "../../lib/pipeline/task.ts";

/**
 * Tells of a training as it goes on: in the log, as progress, and its loss as a metric.
 *
 * @param peak Floating-point operations a second of the fastest product
 */
export function progressReporter(
  stage: Pick<Stage<unknown>, "log" | "metric" | "progress">,
  peak: number,
): (report: TrainingReport) => void {
  stage.log(`Products run at ${(peak / 1e9).toFixed(0)} GFLOPS at most`);
  let fastest = peak;
  return (report) => {
    const { step, steps, loss } = report;
    // Where other work slowed the measurement of the peak, training itself shows a higher one.
    fastest = Math.max(fastest, report.flopsPerSecond);
    const line = lineOf(report, fastest);
    stage.progress(step, steps, "steps", line);
    stage.log(`step ${step}/${steps}  ${line}`);
    stage.metric("loss", loss, step);
  };
}

/** `loss 0.5310  lr 8.21e-4  rank 3  126 ms/step  5120 tokens/s  71 % of peak` */
function lineOf(report: TrainingReport, peak: number): string {
  const { loss, learningRate, rank } = report;
  const { msPerStep, tokensPerSecond, flopsPerSecond } = report;
  return [
    `loss ${loss.toFixed(4)}`,
    `lr ${learningRate.toExponential(2)}`,
    `rank ${[rank].flat().join()}`,
    `${msPerStep.toFixed(0)} ms/step`,
    `${tokensPerSecond.toFixed(0)} tokens/s`,
    `${(flopsPerSecond / peak * 100).toFixed(0)} % of peak`,
  ].join("  ");
}
