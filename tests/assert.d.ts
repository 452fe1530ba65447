/** Types of the assertions of the Deno standard library, in the npm package deno-std, with its own signatures. */

declare module "@std/assert" {
  // deno-lint-ignore no-explicit-any
  type Class<T> = abstract new (...args: any[]) => T;

  /** What a failed assertion throws. */
  export class AssertionError extends Error {}

  /** Throws AssertionError unless `expr` is truthy. */
  export function assert(expr: unknown, msg?: string): asserts expr;

  /** Checks that two numbers differ by at most `tolerance`. */
  export function assertAlmostEquals(
    actual: number,
    expected: number,
    tolerance?: number,
    msg?: string,
  ): void;

  /** Checks that two values are deeply equal; 0 equals -0, and NaN itself. */
  export function assertEquals<T>(actual: T, expected: T, msg?: string): void;

  /** Checks that a value is an instance of a class. */
  export function assertInstanceOf<T>(
    actual: unknown,
    expectedType: Class<T>,
    msg?: string,
  ): asserts actual is T;

  /** Checks the class of an error, and its message by a part or a pattern. */
  export function assertIsError<E extends Error = Error>(
    error: unknown,
    ErrorClass?: Class<E>,
    msgMatches?: string | RegExp,
    msg?: string,
  ): asserts error is E;

  /** Checks that a text matches a pattern. */
  export function assertMatch(
    actual: string,
    expected: RegExp,
    msg?: string,
  ): void;

  /** Checks that two values are not deeply equal. */
  export function assertNotEquals<T>(
    actual: T,
    expected: T,
    msg?: string,
  ): void;

  /** Checks that a text does not match a pattern. */
  export function assertNotMatch(
    actual: string,
    expected: RegExp,
    msg?: string,
  ): void;

  /** Checks that the promise of a function rejects; returns the reason. */
  export function assertRejects(
    fn: () => PromiseLike<unknown>,
    msg?: string,
  ): Promise<unknown>;
  /** Checks that it rejects with an error of a class and a part of its message. */
  export function assertRejects<E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    ErrorClass: Class<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;

  /** Checks that a text includes another. */
  export function assertStringIncludes(
    actual: string,
    expected: string,
    msg?: string,
  ): void;

  /** Checks that a function throws; returns what it threw. */
  export function assertThrows(fn: () => unknown, msg?: string): unknown;
  /** Checks that it throws an error of a class and a part of its message. */
  export function assertThrows<E extends Error = Error>(
    fn: () => unknown,
    ErrorClass: Class<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;

  /** Throws AssertionError. */
  export function fail(msg?: string): never;
}
