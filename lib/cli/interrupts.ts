import { EXIT } from "./arguments.ts";

/** Watches for Ctrl-C, for being ended by another process, and for the end of the terminal. */
export interface Interrupts extends Disposable {
  /** Aborted by the first of them. */
  readonly signal: AbortSignal;
  /** The exit code that says so; undefined if nothing interrupted. */
  readonly code: number | undefined;
  /** True if an error is only how the interrupted work ended. */
  caused(error: unknown): boolean;
}

/**
 * Makes the first Ctrl-C an orderly stop. The second ends the program at once;
 * the processes of stages end with it.
 *
 * @param onFirst Called to tell the user.
 */
export function watchInterrupts(onFirst: () => void): Interrupts {
  const controller = new AbortController();
  let code: number | undefined;
  const listen = (signal: Deno.Signal, exitCode: number) => {
    const listener = () => {
      if (code !== undefined) Deno.exit(exitCode);
      code = exitCode;
      controller.abort(new Error("Interrupted"));
      onFirst();
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  };
  const ends = [
    listen("SIGINT", EXIT.interrupted),
    listen("SIGTERM", EXIT.terminated),
    listen("SIGHUP", EXIT.hungUp),
  ];
  return {
    signal: controller.signal,
    get code() {
      return code;
    },
    caused: (error) =>
      code !== undefined && error instanceof Error &&
      (error === controller.signal.reason ||
        ("code" in error && error.code === "interrupted")),
    [Symbol.dispose]: () => ends.forEach((end) => end()),
  };
}
