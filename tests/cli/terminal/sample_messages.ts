import type { Message } from "../../../lib/cli/terminal/messages.ts";

/** Messages of a run of the stages a and b. */
export const START: Message = {
  type: "start",
  pipeline: "test",
  stages: ["a", "b"],
};

export const SUMMARY: Message = {
  type: "summary",
  ran: 1,
  restored: 0,
  unchanged: 0,
  failed: 1,
  skipped: 0,
  interrupted: 0,
  seconds: 3,
  savedSeconds: 0,
};

export function started(stage: string): Message {
  return { type: "started", stage, attempt: 1, reason: "param lr 1 -> 2" };
}

export function progress(stage: string, done: number): Message {
  const note = "loss 0.5";
  return { type: "progress", stage, done, total: 4, unit: "steps", note };
}

export function finished(stage: string): Message {
  const output = `out/test/${stage}`;
  return { type: "finished", stage, outcome: "ran", seconds: 2, output };
}

export function failed(stage: string): Message {
  return {
    type: "failed",
    stage,
    attempt: 1,
    message: "Told to",
    log: `${stage}.jsonl`,
    retry: false,
  };
}
