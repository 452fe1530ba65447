/**
 * Messages between the process that writes texts (`lib/stages/writer.ts`), the
 * server that starts it, and the page that shows what is written. Each is a
 * line of JSON.
 */

/** The argument of the process. */
export interface WriterStart {
  /** Folder of the model. */
  readonly model: string;
  /** Folder of the adapter. */
  readonly adapter: string;
  /** Settings of the engine. */
  readonly engine: Readonly<Record<string, string | number | boolean>>;
  readonly cpus: number;
}

/** A text to continue at a rank; it ends the request before. */
export interface WriterRequest {
  readonly id: number;
  readonly text: string;
  readonly rank: number;
}

/** What the process prints. */
export type WriterMessage =
  /** It is ready: the ranks that the adapter serves. */
  | { readonly ranks: readonly number[] }
  /** About the request with this id. */
  | { readonly id: number } & Continuation;

/** What follows a text, as the page gets it. */
export type Continuation =
  /** What is written so far, token by token. */
  | { readonly written: string }
  | { readonly isDone: true }
  /** Why it is not complete. */
  | { readonly problem: string };
