/** A parameter of a pipeline with a value, as `-S NAME=VALUE` sets it. */
export interface Setting {
  readonly name: string;
  readonly value: string;
}

/**
 * A fault of data that a setting mends. The message names the setting as well.
 */
export class SettingError extends SyntaxError {
  constructor(
    message: string,
    readonly setting: Setting,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
