/** What the exit codes of the command line mean. */
export const EXIT = {
  fine: 0,
  /** A stage failed, or something unforeseen happened. */
  failed: 1,
  /** Wrong arguments, or a wrong pipeline file. */
  usage: 2,
  /** Another process runs a stage or holds what it needs, with `--no-wait`. */
  busy: 3,
  /** `cache verify` found damage. */
  corrupt: 4,
  /** A stage ended without its output. */
  outputMissing: 5,
  /** There is work to do, with `plan --exit-code`. */
  workToDo: 10,
  /** The terminal is gone. */
  hungUp: 129,
  /** Interrupted by Ctrl-C. */
  interrupted: 130,
  /** Ended by another process. */
  terminated: 143,
} as const;

/** Wrong arguments. The message says which, and what would be right. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
