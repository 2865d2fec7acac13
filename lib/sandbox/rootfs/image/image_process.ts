/**
 * What an image's config says about processes, in the terms of config.json. Pure.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/conversion.md
 * @module
 */

import type { Process, User } from "../../../specs/config.ts";
import { type ImageConfig, invalidImage } from "./image.ts";

/** The search path of a process whose image has none. */
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Content of the image's files; empty if there is no such file. */
export interface UserFiles {
  /** /etc/passwd */
  readonly passwd: string;
  /** /etc/group */
  readonly group: string;
}

/** The fields of `process` that an image's config decides. */
export type ImageProcess = Pick<Process, "args" | "env" | "cwd" | "user">;

/** The process that the image starts by default. @throws {RuncError} `image-invalid` if its user does not exist. */
export function imageProcess(config: ImageConfig, files: UserFiles): ImageProcess {
  const { env, entrypoint, command, workingDirectory } = config;
  const hasPath = env.some((variable) => variable.startsWith("PATH="));
  return {
    args: [...entrypoint, ...command],
    env: hasPath ? env : [DEFAULT_PATH, ...env],
    cwd: workingDirectory === "" ? "/" : workingDirectory.startsWith("/") ? workingDirectory : `/${workingDirectory}`,
    user: resolveUser(config.user, files),
  };
}

/** The highest id: -1 means "no change" to the kernel. */
const HIGHEST_ID = 0xfffffffe;

const idOf = (text: string): number | undefined =>
  /^\d{1,10}$/.test(text) && Number(text) <= HIGHEST_ID ? Number(text) : undefined;

/** Lines of a file such as /etc/passwd, in fields. */
const rowsOf = (text: string): readonly (readonly string[])[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.split(":"));

/**
 * The ids of `USER`, `USER:GROUP`, of names or numbers; empty is root. A user without a group has the one of passwd(5),
 * and the additional ones of group(5).
 *
 * @throws {RuncError} `image-invalid` for a name that the files do not have.
 */
export function resolveUser(text: string, { passwd, group }: UserFiles): User {
  const [userText = "", groupText] = text.split(/:([^]*)/);
  const wanted = userText === "" ? "0" : userText;
  const number = idOf(wanted);
  const row = rowsOf(passwd).find(([name, , uid]) => name === wanted || number !== undefined && uid === String(number));
  const uid = number ?? idOf(row?.[2] ?? "");
  if (uid === undefined) throw invalidImage(`user ${JSON.stringify(wanted)} is not in its /etc/passwd`);
  if (groupText !== undefined && groupText !== "") return { uid, gid: resolveGroup(groupText, group) };
  const gid = idOf(row?.[3] ?? "") ?? 0;
  const name = row?.[0];
  const members = rowsOf(group).filter(([, , , list = ""]) => name !== undefined && list.split(",").includes(name));
  const additionalGids = members.map(([, , id = ""]) => idOf(id)).filter((id) => id !== undefined && id !== gid);
  return additionalGids.length === 0 ? { uid, gid } : { uid, gid, additionalGids: additionalGids as number[] };
}

function resolveGroup(wanted: string, group: string): number {
  const gid = idOf(wanted) ?? idOf(rowsOf(group).find(([name]) => name === wanted)?.[2] ?? "");
  if (gid === undefined) throw invalidImage(`group ${JSON.stringify(wanted)} is not in its /etc/group`);
  return gid;
}
