/**
 * Tries out calls that change the caller, in a child process: a plan of a few bytes, see ../../../plan/. Runs in:
 * parent.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, CloneFlag, MountAttr, OpenTree } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import { Fd } from "../../../ffi/fd.ts";
import { executable, open, pipe } from "../../../ffi/files.ts";
import { alloc, cString, type Kernel } from "../../../ffi/kernel.ts";
import { spawn, waitChild } from "../../../ffi/process/process.ts";
import { syscallNumber } from "../../../ffi/syscalls.ts";
import { buffer, call, fixedFd, slot, step, text, when } from "../../../plan/build.ts";
import { encode } from "../../../plan/native/encode.ts";
import type { Op } from "../../../plan/op.ts";

/** A place for the image, should memory files be forbidden. */
const DIRECTORY = "/tmp";

const result = slot("result");
const code = slot("code");

/** The call's errno as the exit status: 0 if it succeeds. */
const attempt = (...calls: readonly Op[]): readonly Op[] => [
  ...calls,
  { op: "sub", left: 0, right: result, out: code },
  call("exit_group", [code]),
];

/** A child that runs ops. */
interface ProbingChild {
  readonly pid: number;
  /** Waits for its end. Returns its exit status; undefined if a signal ended it. */
  readonly wait: () => number | undefined;
}

/**
 * Starts a child that runs `ops`, with descriptors by their names in the ops. Undefined if it cannot be started: a
 * sandbox forbids it, and nothing is known.
 */
function inChild(
  kernel: Kernel,
  ops: readonly Op[],
  fds: Readonly<Record<string, Fd>> = {},
): ProbingChild | undefined {
  const plan = { stage: [step("try it out", "", ops)], init: [] };
  try {
    // A failure is reported on `sync`. The exit status says enough.
    using sync = open(kernel, "/dev/null", 2);
    const sources = Object.entries({ ...fds, sync });
    // Above all numbers in use, so that none is overwritten. The image takes at most the next one.
    const first = Math.max(...sources.map(([, fd]) => fd.number)) + 2;
    const numbers = Object.fromEntries(sources.map(([name], index) => [name, first + index]));
    const { image } = encode(plan, { arch: kernel.arch, fds: numbers });
    using file = executable(kernel, { name: "runc-probe", content: image, directory: DIRECTORY });
    const pid = spawn(kernel, {
      path: `/proc/self/fd/${file.number}`,
      argv: ["runc", "probe"],
      env: [],
      fds: [
        ...sources.map(([name, fd]) => ({ to: numbers[name]!, from: fd.number })),
        ...[0, 1, 2].map((to) => ({ to, from: sync.number })),
      ],
    });
    return pid < 0 ? undefined : { pid, wait: () => statusOf(kernel, pid) };
  } catch {
    return undefined;
  }
}

function statusOf(kernel: Kernel, pid: number): number | undefined {
  const status = waitChild(kernel, pid);
  return status === undefined || "signal" in status ? undefined : status.code;
}

/** The errno of unshare(2) with these flags; 0 if it succeeds, undefined if it cannot be tried. */
export function unshareErrno(kernel: Kernel, flags: number): number | undefined {
  const unshare = call("unshare", [flags], { out: result, tolerate: ["*"] });
  return inChild(kernel, attempt(unshare))?.wait();
}

/** The errno of mounting a new proc in new user, pid and mount namespaces, as in a rootless container. */
export function procMountErrno(kernel: Kernel): number | undefined {
  const flags = CloneFlag.CLONE_NEWUSER | CloneFlag.CLONE_NEWPID | CloneFlag.CLONE_NEWNS;
  const status = slot("status");
  const waited = buffer("status", 4);
  const child: readonly Op[] = attempt(
    call("mount", [text("proc"), text("/proc"), text("proc"), 0, 0], { out: result, tolerate: ["*"] }),
  );
  return inChild(kernel, [
    call("unshare", [flags], { out: result, tolerate: ["*"] }),
    when(result, "!=", 0, attempt()),
    {
      op: "fork",
      flags: CloneFlag.SIGCHLD,
      out: slot("child"),
      child,
      parent: [
        call("wait4", [slot("child"), waited, 0, 0]),
        { op: "load", from: waited, size: 4, out: status },
        // WEXITSTATUS, wait(2).
        { op: "shr", left: status, right: 8, out: status },
        call("exit_group", [status]),
      ],
    },
  ])?.wait();
}

/** A user namespace, kept by a child until `use` returns. Undefined if there is none. */
function withUserNamespace<Result>(kernel: Kernel, use: (namespace: Fd) => Result): Result | undefined {
  const ready = pipe(kernel, "ready"), go = pipe(kernel, "go");
  const byte = buffer("byte", 1);
  const child = inChild(kernel, [
    call("unshare", [CloneFlag.CLONE_NEWUSER]),
    call("write", [fixedFd("ready"), byte, 1]),
    call("read", [fixedFd("go"), byte, 1]),
    call("exit_group", [0]),
  ], { ready: ready.write, go: go.read });
  ready.write.close();
  go.read.close();
  try {
    if (child === undefined || kernel.retry("read", ready.read.number, alloc(1), 1) !== 1) return undefined;
    // Any ids will do, but a namespace without a map cannot be used for a mount.
    for (const map of ["uid_map", "gid_map"]) {
      Deno.writeTextFileSync(`/proc/${child.pid}/${map}`, "0 100000 1\n", { create: false });
    }
    using namespace = open(kernel, `/proc/${child.pid}/ns/user`, 0);
    return use(namespace);
  } catch {
    return undefined;
  } finally {
    ready.read.close();
    go.write.close();
    child?.wait();
  }
}

/**
 * The errno of an id-mapped mount of `path`, which is attached nowhere and disappears at once; 0 if it succeeds,
 * undefined if it cannot be tried. @see mount_setattr(2)
 */
export function idmapErrno(kernel: Kernel, path: string): number | undefined {
  return withUserNamespace(kernel, (namespace) => {
    const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC;
    const number = kernel.retry("syscall", syscallNumber("open_tree", kernel.arch), AT_FDCWD, cString(path), flags);
    if (number < 0) return undefined;
    using tree = new Fd(kernel, number, path);
    const attributes = alloc(32);
    const view = new DataView(attributes.buffer);
    view.setBigUint64(0, BigInt(MountAttr.MOUNT_ATTR_IDMAP), true);
    view.setBigUint64(24, BigInt(namespace.number), true);
    const set = syscallNumber("mount_setattr", kernel.arch);
    const result = kernel.retry("syscall", set, tree.number, cString(""), AtFlag.AT_EMPTY_PATH, attributes, 32);
    if (result === 0) return 0;
    return result === -Errno.EINVAL ? Errno.EINVAL : undefined;
  });
}
