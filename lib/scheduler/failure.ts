/** A stage's run that failed, in words for the user. */
export class StageFailure extends Error {
  override readonly name = "StageFailure";
}

/** A stage was to run, but what its key was made from has changed meanwhile. */
export class MovedError extends Error {
  override readonly name = "MovedError";
}

/** Another process runs the stage, and waiting was not wanted. */
export class BusyError extends Error {
  override readonly name = "BusyError";
}
