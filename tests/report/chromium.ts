import { assert } from "@std/assert";
import { systemCode } from "../../lib/files/files.ts";
import { until } from "../until.ts";

/** Why tests in a browser are skipped here; undefined if they run. */
export function chromiumMissing(): string | undefined {
  try {
    const { success } = new Deno.Command(CHROMIUM, {
      args: ["--version"],
      stdout: "null",
      stderr: "null",
    }).outputSync();
    return success ? undefined : `"${CHROMIUM} --version" fails`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return `There is no "${CHROMIUM}": install Debian's package chromium, or set CHROMIUM`;
    }
    throw error;
  }
}

const CHROMIUM = Deno.env.get("CHROMIUM") ?? "chromium";

type Json = Record<string, unknown>;

/** How a page is shown. */
export interface View {
  readonly width?: number;
  readonly height?: number;
  readonly theme?: "light" | "dark";
}

/**
 * A page in a headless Chromium, driven by the DevTools protocol over a
 * WebSocket (https://chromedevtools.github.io/devtools-protocol/).
 */
export class Browser implements AsyncDisposable {
  /** What the page wrote to its console as errors, and exceptions. */
  readonly errors: string[] = [];
  /** Addresses that the page asked for. */
  readonly requests: string[] = [];
  readonly #process: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, PromiseWithResolvers<Json>>();
  readonly #events = new Map<string, PromiseWithResolvers<Json>>();
  #session: string | undefined;
  #calls = 0;

  private constructor(
    process: Deno.ChildProcess,
    profile: string,
    socket: WebSocket,
  ) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  /** @param flags Further flags of Chromium */
  static async start(...flags: string[]): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "chromium-" });
    const process = new Deno.Command(CHROMIUM, {
      args: [
        "--headless",
        // Stages of a container run as root, which has no sandbox.
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--remote-debugging-port=0",
        `--user-data-dir=${profile}`,
        ...flags,
        "about:blank",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const socket = new WebSocket(await addressIn(process.stderr));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    const browser = new Browser(process, profile, socket);
    await browser.#attach();
    return browser;
  }

  async #attach(): Promise<void> {
    const { targetId } = await this.send("Target.createTarget", {
      url: "about:blank",
    });
    const { sessionId } = await this.send("Target.attachToTarget", {
      targetId,
      flatten: true,
    });
    this.#session = sessionId as string;
    for (const domain of ["Page", "Runtime", "Log", "Network"]) {
      await this.send(`${domain}.enable`);
    }
  }

  #take(message: Json): void {
    if (typeof message.id === "number") {
      const answer = this.#answers.get(message.id)!;
      this.#answers.delete(message.id);
      if (message.error === undefined) answer.resolve(message.result as Json);
      else answer.reject(new Error(JSON.stringify(message.error)));
      return;
    }
    const { method, params } = message as { method: string; params: Json };
    this.#events.get(method)?.resolve(params);
    if (method === "Runtime.exceptionThrown") {
      this.errors.push(JSON.stringify(params.exceptionDetails));
    }
    if (method === "Runtime.consoleAPICalled") {
      if (["error", "warning", "assert"].includes(params.type as string)) {
        this.errors.push(JSON.stringify(params.args));
      }
    }
    if (method === "Log.entryAdded") {
      this.errors.push(JSON.stringify(params.entry));
    }
    if (method === "Network.requestWillBeSent") {
      this.requests.push((params.request as { url: string }).url);
    }
  }

  /** Calls a method of the protocol. */
  send(method: string, params: Json = {}): Promise<Json> {
    const id = ++this.#calls;
    const answer = Promise.withResolvers<Json>();
    this.#answers.set(id, answer);
    const session = this.#session && { sessionId: this.#session };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    return answer.promise;
  }

  /** Opens an address, and waits until it has loaded. */
  async open(url: string, view: View = {}): Promise<void> {
    await this.show(view);
    const loaded = Promise.withResolvers<Json>();
    this.#events.set("Page.loadEventFired", loaded);
    await this.send("Page.navigate", { url });
    await loaded.promise;
  }

  /** Changes the size and the theme of the page. */
  async show(
    { width = 1280, height = 900, theme = "light" }: View,
  ): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await this.send("Emulation.setScrollbarsHidden", { hidden: true });
    await this.send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: theme }],
    });
  }

  /** Evaluates an expression in the page; its value must be JSON. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    assert(
      exceptionDetails === undefined,
      `${expression}: ${JSON.stringify(exceptionDetails)}`,
    );
    return (result as { value: T }).value;
  }

  /** Waits until an expression holds in the page. */
  until(expression: string): Promise<void> {
    return until(
      () => this.evaluate<boolean>(`Boolean(${expression})`),
      expression,
    );
  }

  /** Presses the left button of the mouse at a point of the window. */
  async click(x: number, y: number): Promise<void> {
    const at = { x, y, button: "left", clickCount: 1 };
    await this.send("Input.dispatchMouseEvent", { ...at, type: "mouseMoved" });
    await this.send("Input.dispatchMouseEvent", {
      ...at,
      type: "mousePressed",
    });
    await this.send("Input.dispatchMouseEvent", {
      ...at,
      type: "mouseReleased",
    });
  }

  /** Writes into what has the focus. */
  async type(text: string): Promise<void> {
    await this.send("Input.insertText", { text });
  }

  /** Presses a key: `Tab`, `Enter`. */
  async press(key: string): Promise<void> {
    const text = key === "Enter" ? "\r" : key === " " ? " " : undefined;
    const codes: Record<string, number> = {
      ...{ Tab: 9, Enter: 13, " ": 32 },
      ...{ ArrowLeft: 37, ArrowRight: 39 },
    };
    const at = {
      key,
      code: key === " " ? "Space" : key,
      windowsVirtualKeyCode: codes[key],
      ...(text !== undefined && { text }),
    };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...at });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...at });
  }

  /** The page as it is printed, as PDF. */
  async print(): Promise<Uint8Array> {
    const { data } = await this.send("Page.printToPDF", {
      printBackground: true,
      preferCSSPageSize: true,
      paperWidth: 8.27,
      paperHeight: 11.69,
    });
    return Uint8Array.fromBase64(data as string);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.onclose = resolve);
    this.#session = undefined;
    this.send("Browser.close").catch(() => {});
    await closed;
    await this.#process.status;
    // Its other processes may end, and write, a little later.
    await until(
      () => removed(this.#profile),
      `nothing wrote to ${this.#profile}`,
    );
  }
}

/** Removes a folder; false if something was written to it meanwhile. */
async function removed(folder: string): Promise<boolean> {
  try {
    await Deno.remove(folder, { recursive: true });
    return true;
  } catch (error) {
    if (systemCode(error) !== "ENOTEMPTY") throw error;
    return false;
  }
}

/** The address of the protocol, which Chromium writes to its standard error. */
async function addressIn(
  stderr: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<string> {
  const [first, rest] = stderr.tee();
  // Chromium must be able to go on writing.
  rest.pipeTo(new WritableStream());
  let text = "";
  for await (
    const part of first.pipeThrough(new TextDecoderStream())
  ) {
    text += part;
    const [, address] = /listening on (ws:\S+)\s/.exec(text) ?? [];
    if (address !== undefined) return address;
  }
  throw new Error(`Chromium does not start: ${text}`);
}
