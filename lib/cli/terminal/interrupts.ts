import { EXIT } from "../arguments/arguments.ts";

/**
 * Milliseconds within which signals count as one press of Ctrl-C. A terminal
 * signals every process of a command, and `deno task` passes the signal on up
 * to twice: within 0.3 ms of each other, also with 24 busy processes on two
 * cores. Nobody presses a key twice in a tenth of a second.
 */
const ONE_PRESS = 100;

/** True if the reader of the output has ended. */
let isUnread = false;

/**
 * Interrupts this program as the closing of its terminal does, since the reader
 * of its output has ended.
 */
export function hangUp(): void {
  isUnread = true;
  Deno.kill(Deno.pid, "SIGHUP");
}

/**
 * Does work that a signal may interrupt.
 *
 * @param onFirst As of {@linkcode watchInterrupts}.
 * @returns The exit code of the signal if there was one, whether or not the
 * work then failed; otherwise that of the work.
 */
export async function interruptible(
  work: (signal: AbortSignal) => Promise<number | void>,
  onFirst = () => {},
): Promise<number> {
  using interrupts = watchInterrupts(onFirst);
  try {
    const code = await work(interrupts.signal);
    return interrupts.code ?? code ?? EXIT.success;
  } catch (error) {
    if (interrupts.code === undefined) throw error;
    return interrupts.code;
  }
}

/**
 * Turns the first signal into an orderly stop. The next press of Ctrl-C, or
 * SIGTERM, ends the program at once, and the processes of stages with it.
 * SIGHUP is ignored after another signal, and without a terminal, as under
 * `nohup`: that SIGHUP is to be ignored is lost on the way through `deno task`.
 *
 * @param onFirst Called at the first signal, to notify the user.
 */
export function watchInterrupts(onFirst: (signal: Deno.Signal) => void) {
  const controller = new AbortController();
  let code: number | undefined;
  let isPressed = false;
  // A terminal that has been closed is none.
  const hasTerminal = [Deno.stdin, Deno.stdout, Deno.stderr]
    .some((stream) => stream.isTerminal());
  const press = () => {
    isPressed = true;
    // Signals that arrived while the thread was busy come before the second
    // timer.
    const release = () => setTimeout(() => isPressed = false, 1);
    Deno.unrefTimer(setTimeout(release, ONE_PRESS));
  };
  const listen = (signal: Deno.Signal, exitCode: number) => {
    const listener = () => {
      if (isPressed) return;
      if (signal === "SIGHUP" && !hasTerminal && !isUnread) return;
      if (code !== undefined) {
        if (signal === "SIGHUP") return;
        Deno.exit(exitCode);
      }
      press();
      code = exitCode;
      onFirst(signal);
      controller.abort(new Error("Interrupted"));
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  };
  const stops = [
    listen("SIGINT", EXIT.interrupted),
    listen("SIGTERM", EXIT.terminated),
    listen("SIGHUP", EXIT.hungUp),
  ];
  return {
    signal: controller.signal,
    /** The exit code of the signal; undefined if there was none. */
    get code(): number | undefined {
      return code;
    },
    /** True if the error is only a consequence of the interruption. */
    caused: (error: unknown) =>
      code !== undefined && error === controller.signal.reason,
    [Symbol.dispose]: () => stops.forEach((stop) => stop()),
  };
}
