import { z } from "zod";

const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const SECONDS: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
};

/** A number of bytes: `4GB`, `512 MiB`, or plain bytes. */
export const Bytes = z.union([
  z.number().int().nonnegative(),
  z.string().regex(/^\d+(\.\d+)? ?([KMGT]i?)?B$/, {
    error: 'Expected a size such as "4GB" or "512MiB"',
  }).transform((text) => {
    const [, amount, unit] = /^([\d.]+) ?(\w+)$/.exec(text)!;
    return Math.round(Number(amount) * BYTES[unit!]!);
  }),
]).describe("Size in bytes, or with a unit: 4GB (10^9), 4GiB (2^30)");

/** A number of seconds: `90s`, `1h30m`, or plain seconds. */
export const Duration = z.union([
  z.number().positive(),
  z.string().regex(/^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$/, {
    error: 'Expected a duration such as "90s", "30m" or "1h30m"',
  }).transform((text, context) => {
    let seconds = 0;
    for (const [, amount, unit] of text.matchAll(/(\d+)([dhms])/g)) {
      seconds += Number(amount) * SECONDS[unit!]!;
    }
    if (seconds > 0) return seconds;
    context.addIssue({
      code: "custom",
      message: "Expected a duration longer than nothing",
    });
    return z.NEVER;
  }),
]).describe("Seconds, or with units: 90s, 30m, 1h30m, 2d");
