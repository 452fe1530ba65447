import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Buffer } from "node:buffer";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { RecordedRun } from "./recorded_runs.ts";

/**
 * Writes an event file of TensorBoard for each run:
 * `FOLDER/RUN/events.out.tfevents.dylora`.
 *
 * Equal runs give equal files, so that writing a run again changes nothing. The
 * name is always the same, because TensorBoard merges the files of a folder.
 * The
 * settings are written as hyperparameters, which TensorBoard compares.
 *
 * @returns Number of runs that were added, and of those that replaced another
 * result of their stage.
 */
export async function writeEventFiles(
  runs: readonly RecordedRun[],
  folder: string,
): Promise<{ added: number; replaced: number }> {
  let added = 0;
  let replaced = 0;
  for (const run of runs) {
    const runFolder = join(folder, run.name);
    const path = join(runFolder, "events.out.tfevents.dylora");
    const bytes = eventFile(run);
    const isThere = existsSync(path);
    if (isThere && bytes.equals(await Deno.readFile(path))) continue;
    await Deno.mkdir(runFolder, { recursive: true });
    const partial = join(runFolder, `.partial-${crypto.randomUUID()}`);
    await Deno.writeFile(partial, bytes);
    await Deno.rename(partial, path);
    if (isThere) replaced++;
    else added++;
  }
  return { added, replaced };
}

/**
 * An event file: records whose data are protocol buffers of the type `Event`.
 *
 * @see
 * https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
 * @see
 * https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto
 */
function eventFile(run: RecordedRun): Buffer<ArrayBuffer> {
  const summary = (write: Write) => inside([5, 1], write);
  const events = [
    event(run.started, 0, (it) => text(it, 3, "brain.Event:2")),
    event(run.started, 0, summary(hyperparameters(run))),
    ...run.points.map(({ name, step, value, time }) => {
      const point: Write = (it) =>
        text(it, 1, name).tag(2, BIT_32).float(value);
      return event(time, step, summary(point));
    }),
  ];
  return Buffer.concat(events.map(record));
}

/** Writes the fields of a message. */
type Write = (writer: BinaryWriter) => unknown;

const { Bit32: BIT_32, Bit64: BIT_64, LengthDelimited, Varint } = WireType;

/** `Event`: wall time in seconds, step, and its content. */
function event(time: number, step: number, write: Write): Uint8Array {
  const writer = new BinaryWriter().tag(1, BIT_64).double(time / 1000);
  if (step !== 0) writer.tag(2, Varint).int64(step);
  write(writer);
  return writer.finish();
}

function text(writer: BinaryWriter, field: number, value: string) {
  return writer.tag(field, LengthDelimited).string(value);
}

/** Writes a message into the fields of messages that are one in the other. */
function inside(fields: readonly number[], write: Write): Write {
  return fields.reduceRight<Write>((inner, field) => (writer) => {
    inner(writer.tag(field, LengthDelimited).fork());
    return writer.join();
  }, write);
}

/**
 * `Summary.Value` with the settings of the run, as TensorBoard's plugin for
 * hyperparameters reads them.
 *
 * @see
 * https://github.com/tensorflow/tensorboard/blob/master/tensorboard/plugins/hparams/plugin_data.proto
 */
function hyperparameters({ params, started }: RecordedRun): Write {
  const value = (it: BinaryWriter, value: string | number | boolean) =>
    typeof value === "number"
      ? it.tag(2, BIT_64).double(value)
      : typeof value === "boolean"
      ? it.tag(4, Varint).bool(value)
      : text(it, 3, value);
  const session: Write = (it) => {
    for (const [name, param] of Object.entries(params)) {
      const member = inside([2], (it) => value(it, param));
      inside([1], (it) => member(text(it, 1, name)))(it);
    }
    it.tag(5, BIT_64).double(started / 1000);
  };
  return (it) => {
    text(it, 1, "_hparams_/session_start_info");
    // The plugin expects a tensor beside its data: floats of shape [0].
    const shape = inside([2, 2], () => {});
    inside([8], (it) => shape(it.tag(1, Varint).int32(1)))(it);
    const content = inside([2, 3], session);
    inside([9, 1], (it) => content(text(it, 1, "hparams")))(it);
  };
}

/**
 * A record of TensorFlow's files: length, its checksum, data, their checksum.
 *
 * @see
 * https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h
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

/**
 * CRC-32C (RFC 3720, appendix B.4), rotated and shifted as TensorFlow stores
 * it.
 */
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
