import * as tf from "@tensorflow/tfjs-core";
import { median } from "../median.ts";

/** A step as it is taken: its loss stays a tensor, since reading it would wait for the step. */
export interface TakenStep {
  /** Number of the step, from 0. */
  readonly step: number;
  readonly loss: tf.Scalar;
  readonly tokens: number;
  /** Floating-point operations of its products. */
  readonly flops: number;
  readonly milliseconds: number;
}

/** Speed of the steps since the last report. */
export interface Rates {
  /** Median of the steps. */
  readonly msPerStep: number;
  /** Tokens a second, padding not counted. */
  readonly tokensPerSecond: number;
  /** Floating-point operations of products a second. */
  readonly flopsPerSecond: number;
}

/** The steps since the last report. */
export class ReportWindow {
  #pending: TakenStep[] = [];
  #tokens = 0;
  #flops = 0;
  #milliseconds: number[] = [];

  add(taken: TakenStep): void {
    this.#pending.push(taken);
    this.#tokens += taken.tokens;
    this.#flops += taken.flops;
    this.#milliseconds.push(taken.milliseconds);
  }

  /** Reads the losses not read before, in order, and frees them. */
  async losses(): Promise<{ step: number; loss: number }[]> {
    const read: { step: number; loss: number }[] = [];
    for (const { step, loss } of this.#pending) {
      read.push({ step, loss: (await loss.data())[0]! });
    }
    this.dispose();
    return read;
  }

  /** Speed of the steps of the window, which starts anew. */
  rates(): Rates {
    const seconds = this.#milliseconds.reduce((sum, ms) => sum + ms, 0) / 1000;
    const rates = {
      msPerStep: median(this.#milliseconds),
      tokensPerSecond: this.#tokens / seconds,
      flopsPerSecond: this.#flops / seconds,
    };
    this.#tokens = 0;
    this.#flops = 0;
    this.#milliseconds = [];
    return rates;
  }

  /** Frees the losses that were not read. */
  dispose(): void {
    for (const { loss } of this.#pending) loss.dispose();
    this.#pending = [];
  }
}
