/**
 * Rules for the files that the config names: the program and the hooks.
 *
 * @module
 */

import type { Arch } from "../../../ffi/syscalls.ts";
import { hookNames } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import { quote } from "../../config/validate/facts.ts";
import type { ProgramFacts } from "../facts.ts";
import type { CheckRule } from "../rule.ts";

/** `e_machine` of the programs that a kernel runs itself, with their names. include/uapi/linux/elf-em.h */
const machines: Readonly<Record<Arch, readonly number[]>> = { x86_64: [62, 3], aarch64: [183, 40] };
const machineNames: Readonly<Record<number, string>> = {
  3: "i386",
  8: "mips",
  21: "ppc64",
  22: "s390x",
  40: "arm",
  62: "x86_64",
  183: "aarch64",
  243: "riscv",
  258: "loongarch",
};

/** The kinds of hooks that run in the container's root file system. */
const IN_CONTAINER = "startContainer";

/** The programs that run in the container, with their fields. */
function* programs(
  command: string | undefined,
  program: ProgramFacts | undefined,
  hooks: readonly { readonly path: string }[],
  hookPrograms: readonly ProgramFacts[],
): Iterable<readonly [name: string, at: string, facts: ProgramFacts]> {
  if (command && program !== undefined) yield [command, "/process/args/0", program];
  for (const [index, { path }] of hooks.entries()) {
    const facts = hookPrograms[index];
    if (facts !== undefined) yield [path, `/hooks/${IN_CONTAINER}/${index}/path`, facts];
  }
}

/** A rule for the programs in the container. */
function programRule(
  text: Omit<CheckRule, "find" | "field">,
  judge: (name: string, facts: ProgramFacts, arch: Arch) => Omit<Problem, "at" | "found"> | undefined,
): CheckRule {
  return {
    ...text,
    field: "",
    *find({ process, hooks }, { arch, program, startHooks }) {
      const all = programs(process?.args?.[0], program, hooks?.[IN_CONTAINER] ?? [], startHooks);
      for (const [name, at, facts] of all) {
        const problem = judge(name, facts, arch);
        if (problem !== undefined) yield { at, found: name, ...problem };
      }
    },
  };
}

const inContainer: readonly CheckRule[] = [
  programRule({
    id: "program-missing",
    severity: "problem",
    finds: "a program or startContainer hook that is not in the root file system",
    why: "the container fails with: executable file not found",
    fix: "correct process.args[0] or the PATH in process.env, or put the program into the root file system",
  }, (name, { state }) => {
    if (state !== "missing") return undefined;
    const where = name.includes("/") ? "in the root file system" : "in any directory of the container's PATH";
    return { wanted: "an executable file", message: `${quote(name)} is not ${where}` };
  }),
  programRule({
    id: "program-refused",
    severity: "problem",
    finds: "a program or startContainer hook that is not executable",
    why: "execve(2) fails with EACCES",
    fix: "make the file in the root file system executable: chmod +x",
  }, (_, facts) => {
    if (facts.state !== "refused") return undefined;
    return { wanted: "an executable file", message: `${facts.path} is not an executable file` };
  }),
  {
    id: "program-architecture",
    severity: "problem",
    field: "",
    finds: "a program for another processor architecture, on a host without binfmt_misc handlers",
    why: "execve(2) fails with ENOEXEC (exec format error)",
    fix: "use an image for this architecture, or install an emulator (Debian: qemu-user-static)",
    *find({ process, hooks }, { arch, hasEmulators, program, startHooks }) {
      if (hasEmulators) return;
      const all = programs(process?.args?.[0], program, hooks?.[IN_CONTAINER] ?? [], startHooks);
      for (const [found, at, facts] of all) {
        const machine = facts.state === "found" ? facts.format.machine : undefined;
        if (machine === undefined || machines[arch].includes(machine)) continue;
        const name = machineNames[machine] ?? `machine ${machine}`;
        yield { at, found, wanted: `a program for ${arch}`, message: `${quote(found)} is a program for ${name}` };
      }
    },
  },
  programRule({
    id: "program-interpreter",
    severity: "problem",
    finds: "a program whose dynamic linker or `#!` interpreter is not in the root file system",
    why: "execve(2) fails with ENOENT although the program is there",
    fix: "put the interpreter and the libraries into the root file system, or use a static program",
  }, (name, facts) => {
    if (facts.state !== "found" || facts.format.hasInterpreter !== false) return undefined;
    const message = `${quote(name)} needs ${facts.format.interpreter}, which is not in the root file system`;
    return { wanted: "a program with its interpreter", message };
  }),
  programRule({
    id: "program-format",
    severity: "problem",
    finds: "a program that is neither an ELF file nor a script with `#!`",
    why: "execve(2) fails with ENOEXEC (exec format error)",
    fix: "start the script with a line such as #!/bin/sh, or run it with its interpreter",
  }, (_, facts) => {
    if (facts.state !== "found" || !facts.format.isUnknown) return undefined;
    return { wanted: "an ELF file or a script", message: `${facts.path} is neither an ELF file nor a script` };
  }),
];

const onHost: readonly CheckRule[] = [
  {
    id: "hook-missing",
    severity: "problem",
    field: "hooks",
    finds: "a hook that is not on the host",
    why: "the container is created and then removed again, or cannot be deleted cleanly",
    fix: "install the program, or remove the hook",
    *find({ hooks = {} }, { fileAt }) {
      for (const name of hookNames) {
        if (name === IN_CONTAINER) continue;
        for (const [index, { path: found }] of (hooks[name] ?? []).entries()) {
          if (!found.startsWith("/") || fileAt(found) !== undefined) continue;
          const message = `the ${name} hook ${found} does not exist`;
          yield { at: `/hooks/${name}/${index}/path`, found, wanted: "an executable file", message };
        }
      }
    },
  },
  {
    id: "hook-refused",
    severity: "problem",
    field: "hooks",
    finds: "a hook that is not an executable file",
    why: "execve(2) fails with EACCES",
    fix: "make the file executable: chmod +x",
    *find({ hooks = {} }, { fileAt }) {
      for (const name of hookNames) {
        if (name === IN_CONTAINER) continue;
        for (const [index, { path: found }] of (hooks[name] ?? []).entries()) {
          const file = found.startsWith("/") ? fileAt(found) : undefined;
          if (file === undefined || (file.kind === "file" && (file.mode & 0o111) !== 0)) continue;
          const message = `the ${name} hook ${found} is not an executable file`;
          yield { at: `/hooks/${name}/${index}/path`, found, wanted: "an executable file", message };
        }
      }
    },
  },
];

/** Rules for programs and hooks. */
export const programChecks: readonly CheckRule[] = [...inContainer, ...onHost];
