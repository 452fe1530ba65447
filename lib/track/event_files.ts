import { Buffer } from "node:buffer";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { RecordedRun } from "./recorded_runs.ts";

/**
 * Writes an event file of TensorBoard for each run: `FOLDER/RUN/events.out.tfevents.TIME.dylora`.
 *
 * Equal runs give equal files, so that writing a run again changes nothing. A
 * run has only one such file, because TensorBoard merges those of a folder. The
 * settings are written as hyperparameters, which TensorBoard compares.
 *
 * @returns Number of runs that the folder did not have, and of those that it had
 * otherwise, such as before their stage was run again.
 */
export async function writeEventFiles(
  runs: readonly RecordedRun[],
  folder: string,
): Promise<{ added: number; replaced: number }> {
  let added = 0;
  let replaced = 0;
  for (const run of runs) {
    const own = join(folder, run.name);
    const seconds = Math.floor(run.started / 1000);
    const name = `events.out.tfevents.${seconds}.dylora`;
    const path = join(own, name);
    const bytes = eventFile(run);
    await Deno.mkdir(own, { recursive: true });
    const present = [...Deno.readDirSync(own)].map(({ name }) => name)
      .filter((name) => /^events\.out\.tfevents\.\d+\.dylora$/.test(name));
    const others = present.filter((other) => other !== name);
    const isWritten = present.includes(name) &&
      Buffer.from(bytes).equals(await Deno.readFile(path));
    if (!isWritten) {
      const partial = join(own, `.partial-${crypto.randomUUID()}`);
      await Deno.writeFile(partial, bytes);
      await Deno.rename(partial, path);
    }
    // Forced, because a second process may remove them at the same time.
    for (const other of others) await rm(join(own, other), { force: true });
    if (present.length === 0) added++;
    else if (!isWritten || others.length > 0) replaced++;
  }
  return { added, replaced };
}

/**
 * An event file: records whose data are protocol buffers of the type `Event`.
 *
 * @see https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
 * @see https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto
 */
function eventFile(run: RecordedRun): Uint8Array {
  const summary = (value: Uint8Array) => field(5, field(1, value));
  const events = [
    event(run.started, 0, field(3, "brain.Event:2")),
    event(run.started, 0, summary(hyperparameters(run))),
    ...run.points.map(({ name, step, value, time }) => {
      const named = Buffer.concat([field(1, name), float(2, value)]);
      return event(time, step, summary(named));
    }),
  ];
  return Buffer.concat(events.map(record));
}

/** `Event`: wall time in seconds, step, and its content. */
function event(time: number, step: number, content: Uint8Array): Uint8Array {
  const steps = step === 0 ? [] : [integer(2, step)];
  return Buffer.concat([double(1, time / 1000), ...steps, content]);
}

/**
 * `Summary.Value` with the settings of the run, as TensorBoard's plugin for
 * hyperparameters reads them.
 *
 * @see https://github.com/tensorflow/tensorboard/blob/master/tensorboard/plugins/hparams/plugin_data.proto
 */
function hyperparameters({ params, started }: RecordedRun): Uint8Array {
  const values = Object.entries(params).map(([name, value]) => {
    const encoded = typeof value === "number"
      ? double(2, value)
      : typeof value === "boolean"
      ? integer(4, Number(value))
      : field(3, value);
    return field(1, Buffer.concat([field(1, name), field(2, encoded)]));
  });
  const session = Buffer.concat([...values, double(5, started / 1000)]);
  const plugin = Buffer.concat([
    field(1, "hparams"),
    field(2, field(3, session)),
  ]);
  // The plugin expects a tensor beside its data: floats of shape [0].
  const shape = field(2, new Uint8Array());
  const tensor = Buffer.concat([integer(1, 1), field(2, shape)]);
  return Buffer.concat([
    field(1, "_hparams_/session_start_info"),
    field(8, tensor),
    field(9, field(1, plugin)),
  ]);
}

/**
 * A record of TensorFlow's files: length, its checksum, data, their checksum.
 *
 * @see https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h
 */
function record(data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]);
}

/** CRC-32C of each byte. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) {
    crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return crc;
});

/** CRC-32C (RFC 3720, appendix B.4), rotated and shifted as TensorFlow stores it. */
function maskedCrc(bytes: Uint8Array): Uint8Array {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc = CRC_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  }
  crc = ~crc >>> 0;
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

/** A field of a protocol buffer with a text, or with bytes such as another message. */
function field(number: number, content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === "string"
    ? new TextEncoder().encode(content)
    : content;
  return Buffer.concat([varint(number << 3 | 2), varint(bytes.length), bytes]);
}

function integer(number: number, value: number): Uint8Array {
  return Buffer.concat([varint(number << 3), varint(value)]);
}

function double(number: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([varint(number << 3 | 1), bytes]);
}

function float(number: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint(number << 3 | 5), bytes]);
}

/** A natural number in groups of seven bits, the lowest first. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push(rest % 0x80 + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.of(...bytes, rest);
}
