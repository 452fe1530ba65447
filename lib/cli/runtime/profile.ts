/**
 * Reads the user's profile: what runs the stages, and how; where results of
 * other machines are.
 */
import * as z from "zod";
import { reportIssues } from "../../pipeline/check.ts";
import {
  FaultList,
  PipelineError,
  readText,
  SourceText,
} from "../../pipeline/faults.ts";
import { locate, readYaml } from "../../pipeline/read.ts";
import { SLURM_PROFILE } from "../../slurm/settings.ts";

export type Profile = z.output<typeof Profile>;

const Profile = z.strictObject({
  executor: z.enum(["local", "slurm"]).optional(),
  ...SLURM_PROFILE,
  remote: z.strictObject({
    url: z.string().min(1),
    mode: z.enum(["read", "write", "off"]).optional(),
    trust: z.array(z.string()).optional(),
  }).optional(),
});

/**
 * Reads a profile file.
 *
 * @throws {PipelineError} With all faults of the file.
 */
export async function loadProfile(file: string): Promise<Profile> {
  const text = await readText(file);
  const source = new SourceText(file, text);
  const { value: written, faults: unreadable } = await readYaml(text);
  if (unreadable.length > 0) throw new PipelineError(source, unreadable);
  const value = written ?? {};
  const { success, data, error } = Profile.safeParse(value);
  if (success) return data;
  const faults = new FaultList();
  reportIssues(error.issues, faults, {
    file: value,
    at: [],
    schema: Profile,
    value,
    owner: "the profile",
  });
  throw new PipelineError(source, await locate(faults.all, text));
}
