/**
 * Command lines of `exec` that the front of the program can carry out again. Pure.
 *
 * @module
 */

import { ANY_WORD } from "../../libcontainer/state/known_exec.ts";
import type { Invocation } from "../parse.ts";

/** What an option of `exec` is for the front: a flag, or what its value is. Others are left to the snapshot. */
export const ExecOption = { flag: 1, value: 2, process: 3, pidFile: 4 } as const;

type Kind = typeof ExecOption[keyof typeof ExecOption];

/** The options of `exec` that the front knows. A value that is the same may be: the words are compared. */
export const execOptions: Readonly<Partial<Record<keyof Invocation<"exec">["options"], Kind>>> = {
  detach: ExecOption.flag,
  "no-new-privs": ExecOption.flag,
  cwd: ExecOption.value,
  env: ExecOption.value,
  user: ExecOption.value,
  cap: ExecOption.value,
  apparmor: ExecOption.value,
  process: ExecOption.process,
  "pid-file": ExecOption.pidFile,
};

/** Their words. */
export const execOptionWords: Readonly<Record<string, Kind>> = {
  ...Object.fromEntries(Object.entries(execOptions).map(([name, kind]) => [`--${name}`, kind])),
  "-d": ExecOption.flag,
  "-e": ExecOption.value,
  "-u": ExecOption.value,
  "-c": ExecOption.value,
  "-p": ExecOption.process,
};

const globals: readonly string[] = ["--root", "--log", "--log-format"];

/**
 * The words after `exec`, where {@link ANY_WORD} stands for a file's path. Undefined if there is a word before the id that
 * the front does not know.
 */
export function knownArgv(words: readonly string[]): readonly string[] | undefined {
  const start = commandAt(words) + 1;
  const argv = words.slice(start);
  if (start === 0 || argv.some((word) => word.startsWith(ANY_WORD))) return undefined;
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index]!;
    if (!word.startsWith("-")) return argv;
    const [name = "", ...value] = word.split("=");
    const kind = execOptionWords[name];
    const isFile = kind === ExecOption.process || kind === ExecOption.pidFile;
    // A path has to be a word of its own, and a flag has no value.
    if (kind === undefined || (value.length > 0 && kind !== ExecOption.value)) return undefined;
    if (kind === ExecOption.flag || value.length > 0) continue;
    index++;
    if (isFile) argv[index] = ANY_WORD;
  }
  return undefined;
}

/** The index of the command `exec`; -1 if there is an option before it that the front does not know. */
function commandAt(words: readonly string[]): number {
  for (let index = 0; index < words.length; index++) {
    const [name = "", ...value] = words[index]!.split("=");
    if (words[index] === "exec") return index;
    if (words[index] === "--systemd-cgroup") continue;
    if (!globals.includes(name)) return -1;
    if (value.length === 0) index++;
  }
  return -1;
}
