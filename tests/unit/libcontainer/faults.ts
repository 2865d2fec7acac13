/**
 * How each verb of the parent can fail.
 *
 * @module
 */

import type { Act, Verb } from "../../../lib/libcontainer/plans/parent/act.ts";
import type { Fault, Trouble } from "./fake_world.ts";

/** The failures of what a verb calls, as the manual pages have them; see the performers of each. */
export const troubles: Readonly<Record<Verb["verb"], readonly Trouble[]>> = {
  // mkdir(2), chmod(2)
  makeStateDirectory: [
    "EEXIST",
    "ENOENT",
    "EACCES",
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "ENAMETOOLONG",
    "EMLINK",
    "ENOMEM",
    "EIO",
  ],
  noteCreation: ["ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENOMEM", "EIO"],
  makeDirectory: ["EEXIST", "ENOSPC", "EDQUOT", "EROFS", "ENOMEM", "EIO"],
  // unlink(2), rmdir(2), opendir(3)
  removeStateDirectory: ["EACCES", "EBUSY", "EROFS", "EIO", "EMFILE", "ENOMEM"],
  // mkfifo(3), chown(2), open(2)
  makeExecFifo: ["ENOSPC", "EPERM", "EINVAL", "EMFILE", "ENFILE", "ENOMEM", "EIO"],
  readExecFifo: ["ENOENT", "EMFILE", "EIO", "interrupted", "ENOMEM"],
  // open(2), write(2), rename(2)
  saveState: ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENOENT", "ENOMEM"],
  // open(2), flock(2)
  lockState: ["ENOENT", "EMFILE", "ENOLCK", "EINTR", "interrupted", "ENOMEM", "EIO"],
  // close(2) releases the lock, whatever it returns.
  unlockState: [],
  openNamespace: ["ENOENT", "EACCES", "EMFILE", "ENFILE", "ELOOP", "ENOMEM", "EIO"],
  // socketpair(2), memfd_create(2)
  pairSockets: ["EMFILE", "ENFILE", "ENOMEM"],
  makeHookFiles: ["EMFILE", "ENFILE", "ENOMEM"],
  // posix_spawn(3)
  startStage: ["ENOENT", "EAGAIN", "ENOMEM", "EMFILE", "EPERM", "ENOSPC"],
  // A process that does not end is a warning.
  endProcesses: [],
  // A child needs no pidfd.
  adopt: [],
  reapStage: ["interrupted"],
  checkProgram: ["ENOENT", "interrupted"],
  requireInit: ["ESRCH"],
  requireLiveInit: ["ESRCH", "EMFILE", "ENOMEM"],
  // readlink(2), open(2)
  refuseTracers: ["EACCES", "EMFILE"],
  // pidfd_open(2), pidfd_send_signal(2)
  openInit: ["EMFILE", "ENFILE", "ENOMEM"],
  signalInit: ["ESRCH", "EPERM", "EMFILE"],
  awaitInitEnd: ["ETIMEDOUT"],
  // The caller writes its pid file, or reads the terminal.
  tellCaller: ["ENOSPC", "EROFS", "ENOENT"],
  await: ["interrupted", "dies", "lies"],
  // open(2), write(2), rename(2)
  writePidFile: ["ENOENT", "EACCES", "ENOSPC", "EROFS", "EDQUOT", "EMFILE", "ENOMEM", "EIO"],
  // execve(2)
  becomeMonitor: ["EACCES", "ENOMEM", "EMFILE"],
  // A home directory that is too long.
  go: ["ENAMETOOLONG"],
  // mkdirat(2), openat2(2), openat(2)
  makeTarget: ["ENOSPC", "EROFS", "ELOOP", "EXDEV", "EACCES", "ENOTDIR"],
  copyUp: ["ENOSPC", "EIO", "EACCES", "interrupted"],
  // connect(2), sendmsg(2), pidfd_getfd(2)
  handListener: ["ECONNREFUSED", "ENOENT", "EPERM", "EMFILE", "interrupted"],
  logHooks: ["EIO"],
  // These are answers to messages.
  copied: [],
  fail: [],
  warnOfStep: [],
  died: [],
  // newuidmap(1), write(2)
  writeIdMaps: ["EPERM", "EINVAL", "ENOENT", "EMFILE", "interrupted"],
  writeHookStates: ["ENOMEM", "ENOSPC"],
  describe: ["ENOENT", "EMFILE"],
  // netlink(7)
  moveNetworkDevice: ["ENODEV", "EEXIST", "EBUSY", "EPERM", "EMFILE"],
  // prlimit(2)
  setRlimit: ["EPERM", "EINVAL", "ESRCH"],
  restoreFileLimit: ["EPERM", "ESRCH"],
  // cgroups(7)
  makeCgroups: ["EACCES", "EROFS", "ENOSPC", "EBUSY", "EINVAL", "ETIMEDOUT", "interrupted"],
  joinCgroups: ["EBUSY", "EACCES", "ENOSPC", "ESRCH", "EOPNOTSUPP"],
  requireCgroups: ["ENOENT", "EBUSY"],
  // bpf(2)
  setDevices: ["EPERM", "EINVAL", "ENOMEM", "EBUSY"],
  setLimits: ["EINVAL", "EBUSY", "ENOENT", "EACCES", "ERANGE", "interrupted"],
  mergeLimits: ["EINVAL"],
  rememberLimits: ["ENOENT", "EIO"],
  restoreLimits: ["EINVAL", "EBUSY"],
  rememberSchemata: ["EIO"],
  setSchemata: ["EINVAL", "ENOENT"],
  restoreSchemata: ["EINVAL", "ENOENT"],
  freeze: ["EBUSY", "ENOENT", "interrupted"],
  thaw: ["EBUSY", "EINVAL"],
  thawToKill: ["EBUSY"],
  killCgroup: ["EACCES", "EIO", "interrupted"],
  killLeft: ["EACCES", "EIO", "interrupted"],
  removeCgroups: ["EBUSY", "EACCES", "EROFS", "ETIMEDOUT", "interrupted"],
  makeRdtGroup: ["ENOSPC", "EROFS", "EACCES"],
  joinRdtGroup: ["ESRCH", "EPERM", "EINVAL"],
  limitRdtGroup: ["EINVAL", "ENOSPC"],
  undoRdtGroup: ["EBUSY", "EACCES"],
  removeRdtGroup: ["EBUSY", "EACCES"],
  findCriu: ["ENOENT", "EPERM", "interrupted"],
  // posix_spawn(3)
  startCriu: ["ENOENT", "EACCES", "EAGAIN", "ENOMEM", "EMFILE"],
  // A process that does not end is left.
  endCriu: [],
  checkCriu: ["dies", "lies", "interrupted"],
  checkStatusFd: ["EBADF"],
  // mkdir(2), open(2)
  openImages: ["ENOENT", "EACCES", "ENOSPC", "EROFS", "EMFILE", "ENOMEM", "EIO"],
  writeImageFacts: ["ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENOMEM", "EIO"],
  // A request is made of files that can be missing.
  requestCriu: ["ENOENT", "EPIPE"],
  awaitCriu: ["dies", "lies", "interrupted"],
  answerCriu: ["EPIPE"],
  refuseCriu: ["interrupted"],
  awaitCriuEnd: ["dies", "interrupted"],
  awaitCriuGone: ["interrupted"],
  tellReady: [],
  // A child needs no pidfd.
  adoptRestored: ["lies"],
  endRestored: [],
  // mkdir(2), mount(2)
  mountRootfs: ["ENOENT", "EACCES", "EPERM", "ENOSPC"],
  unmountRootfs: [],
  makeMountPoints: ["ENOSPC", "EROFS", "EACCES"],
  // netlink(7)
  setLoopbackUp: ["EPERM", "EMFILE"],
  runHook: ["ENOENT", "EACCES", "ENOEXEC", "ETIMEDOUT", "EAGAIN", "interrupted"],
  warn: [],
  debug: [],
  readStatus: ["EACCES", "EIO"],
};

/** Verbs that may be done by half when they fail. A verb whose act has an undo must then have done nothing. */
export const halves: readonly Verb["verb"][] = [
  "makeExecFifo",
  "makeHookFiles",
  "pairSockets",
  "lockState",
  "joinCgroups",
  "setDevices",
  "setLimits",
  "setSchemata",
  "joinRdtGroup",
  "limitRdtGroup",
  "moveNetworkDevice",
  "writeIdMaps",
  "writeHookStates",
  "makeTarget",
  "copyUp",
  "handListener",
  "runHook",
  "tellCaller",
  "reapStage",
  "killCgroup",
  "signalInit",
  "removeRdtGroup",
  "openImages",
  "writeImageFacts",
  "awaitCriu",
  "answerCriu",
  "makeMountPoints",
];

/** Each failure of what was done as the n-th. */
export function faultsAt(at: number, does: Act["does"]): readonly Fault[] {
  const partly = halves.includes(does.verb) ? [false, true] : [false];
  // A program may end at once: the end that is awaited is no failure.
  const isEnd = does.verb === "await" && does.kind === "end";
  return troubles[does.verb].filter((trouble) => !isEnd || trouble !== "dies")
    .flatMap((trouble) => partly.map((partly) => ({ at, trouble, partly })));
}
