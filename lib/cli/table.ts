/**
 * The command line as data: every command with its arguments and options. Both the parser and the help use only this
 * table, so they cannot disagree. Names are those of the OCI runtime command line.
 *
 * @see https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md
 * @module
 */

/**
 * The type of an option's value. `duration` is Go's (`1m30s`); its parsed value is in milliseconds. Lists may be
 * repeated.
 */
export type OptionType = "bool" | "string" | "int" | "duration" | "list" | "intList";

/** One option. Its name is its key in the table. */
export interface OptionSpec {
  readonly type: OptionType;
  /** Verb phrase for the help. */
  readonly help: string;
  /** Alternative names, mostly one letter. */
  readonly aliases?: readonly string[];
  /** The placeholder for the value in the help. Every type except `bool` has one. */
  readonly value?: string;
  readonly default?: string | number;
  /** The values that a string may have, if they are a closed list. */
  readonly choices?: readonly string[];
  /** Environment variable that is used if the option is not given. */
  readonly env?: string;
  /** Not shown in the help. */
  readonly hidden?: boolean;
}

/** The number of arguments that a command takes. If both are equal, exactly that many. */
export interface ArgsRule {
  readonly min: number;
  readonly max: number;
}

/** One command. Its name is its key in the table. */
export interface CommandSpec {
  /** Verb phrase for the help. */
  readonly summary: string;
  /** Arguments as the help shows them, after the options. */
  readonly usage: string;
  readonly args: ArgsRule;
  /** If this option is given, the command takes no arguments. */
  readonly argsReplacedBy?: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** A command line that works. */
  readonly example: string;
  readonly aliases?: readonly string[];
  /** All words after the first argument are arguments, even if they look like options. */
  readonly stopAtFirstArg?: boolean;
  /** These words as the first argument end the options too: the rest is a command line of theirs. */
  readonly commandsAfter?: readonly string[];
  /** Not listed in the help. */
  readonly hidden?: boolean;
  /** Uses the state directory, which is prepared beforehand. */
  readonly usesState?: boolean;
  /** Prefix for the message of an error that the command throws. */
  readonly errorPrefix?: string;
  /** Exit status for an error that the command throws; 1 if absent. */
  readonly errorStatus?: number;
}

const one: ArgsRule = { min: 1, max: 1 };
const none: ArgsRule = { min: 0, max: 0 };

const bundle = {
  type: "string",
  aliases: ["b"],
  value: "dir",
  help: "use the bundle in this directory instead of the current one",
} as const satisfies OptionSpec;

const consoleSocket = {
  type: "string",
  value: "path",
  help: "send the master end of the terminal to this AF_UNIX socket",
} as const satisfies OptionSpec;

const pidfdSocket = {
  type: "string",
  value: "path",
  help: "send a pidfd of the new process to this AF_UNIX socket",
} as const satisfies OptionSpec;

const pidFile = {
  type: "string",
  value: "path",
  help: "write the process id to this file",
} as const satisfies OptionSpec;

const preserveFds = {
  type: "int",
  value: "n",
  default: 0,
  help: "pass n more descriptors to the container, after stdio and $LISTEN_FDS",
} as const satisfies OptionSpec;

const textOrJson = {
  type: "string",
  aliases: ["f"],
  value: "format",
  default: "text",
  choices: ["text", "json"],
  help: "print text or json",
} as const satisfies OptionSpec;

const detach = {
  type: "bool",
  aliases: ["d"],
  help: "return as soon as the program runs",
} as const satisfies OptionSpec;

const noPivot = {
  type: "bool",
  help: "enter the root file system without pivot_root (for a root on a ramdisk)",
} as const satisfies OptionSpec;

const noSubreaper = {
  type: "bool",
  help: "do not become the parent of the container's orphans",
} as const satisfies OptionSpec;

const supervise = {
  type: "bool",
  help: "keep a small process that records how the container ends",
} as const satisfies OptionSpec;

/** An option of `update`. It is a string, because callers know the messages for wrong values. */
function limit(value: string, help: string) {
  return { type: "string", value, help } as const satisfies OptionSpec;
}

/** Options of both `create` and `run`. */
export const createOptions = {
  bundle,
  "console-socket": consoleSocket,
  "pidfd-socket": pidfdSocket,
  "pid-file": pidFile,
  "no-pivot": noPivot,
  "no-new-keyring": { type: "bool", help: "keep the caller's session keyring" },
  "preserve-fds": preserveFds,
  supervise,
  "seccomp-audit": {
    type: "string",
    value: "file",
    help: "deny no system call; write which were used or would be denied, and a profile, to this file",
  },
} as const satisfies Record<string, OptionSpec>;

/** Available in every command and before it. */
export const helpOption = {
  type: "bool",
  aliases: ["h"],
  help: "show help",
} as const satisfies OptionSpec;

/** Options of the program, which come before the command. All except `version` are also accepted after it. */
export const globalOptions = {
  root: { type: "string", value: "dir", help: "keep the state of containers in this directory (default: /run/runc)" },
  log: { type: "string", value: "file", help: "append the log to this file instead of standard error" },
  // No `choices`: callers know the message for a wrong value, see log.ts.
  "log-format": { type: "string", value: "format", default: "text", help: "write the log as text or json" },
  debug: { type: "bool", help: "log more, and add the place in the source to each record" },
  "systemd-cgroup": { type: "bool", help: "manage cgroups with systemd; cgroupsPath is then slice:prefix:name" },
  rootless: {
    type: "string",
    value: "bool",
    default: "auto",
    help: "continue without permission for cgroups: true, false or auto",
  },
  criu: { type: "string", value: "path", hidden: true, help: "ignored; accepted for older callers" },
  init: {
    type: "string",
    value: "kind",
    default: "native",
    choices: ["native", "deno"],
    env: "RUNC_INIT",
    help: "set up containers with native code or with a second Deno",
  },
  trace: {
    type: "string",
    value: "file",
    help: "write a timing trace to this file: OTLP/JSON if it ends in .otlp.json, else chrome://tracing",
  },
  supervisor: { type: "int", value: "fd", hidden: true, help: "internal: be the supervisor of another runtime" },
  auditing: { type: "int", value: "fd", hidden: true, help: "internal: be the auditor of another runtime" },
  auditor: { type: "string", value: "fd,pid", hidden: true, help: "internal: the socket to the auditor" },
  version: { type: "bool", aliases: ["v"], help: "print versions" },
  help: helpOption,
} as const satisfies Record<string, OptionSpec>;

/** Options of both `checkpoint` and `restore`. */
export const criuOptions = {
  "image-path": { type: "string", value: "dir", help: "keep the image files in this directory (default: checkpoint)" },
  "work-path": { type: "string", value: "dir", help: "keep CRIU's log and work files in this directory" },
  "tcp-established": { type: "bool", help: "allow established TCP connections" },
  "ext-unix-sk": { type: "bool", help: "allow Unix sockets that are connected to the outside" },
  "shell-job": { type: "bool", help: "allow a session and terminal of the outside" },
  "lazy-pages": { type: "bool", help: "transfer memory only when the restored processes use it" },
  "file-locks": { type: "bool", help: "allow file locks" },
  // No `choices`: callers know the message for a wrong value.
  "manage-cgroups-mode": { type: "string", value: "mode", help: "treat cgroups as soft, full, strict or ignore" },
  "empty-ns": {
    type: "list",
    value: "network",
    help: "leave the content of this namespace out; always so for network",
  },
  "auto-dedup": { type: "bool", help: "keep memory that several images share only once" },
} as const satisfies Record<string, OptionSpec>;

/** Every command, in the order of the help. */
export const commands = {
  check: {
    summary: "print every problem and risk of a bundle on this host",
    usage: "",
    args: none,
    options: {
      bundle,
      format: textOrJson,
      strict: { type: "bool", help: "exit with status 2 if there are only warnings" },
    },
    example: "runc check --bundle /bundles/web --strict",
  },
  checkpoint: {
    summary: "save the processes of a container to files",
    usage: "<container-id>",
    args: one,
    options: {
      ...criuOptions,
      "parent-path": {
        type: "string",
        value: "dir",
        help: "save only what has changed since the images in this directory, which is relative to --image-path",
      },
      "leave-running": { type: "bool", help: "let the container run on" },
      "tcp-skip-in-flight": { type: "bool", help: "leave out TCP connections that are not established yet" },
      "link-remap": { type: "bool", help: "give open files without a name one for the time being" },
      "status-fd": {
        type: "int",
        value: "n",
        default: -1,
        help: "write a zero byte to this descriptor when --lazy-pages is ready",
      },
      "page-server": { type: "string", value: "address:port", help: "send the memory to this page server" },
      "pre-dump": { type: "bool", help: "save only the memory, and let the container run on" },
    },
    example: "runc checkpoint --image-path /var/lib/images/web web",
    usesState: true,
  },
  create: {
    summary: "set up a container without starting its program",
    usage: "<container-id>",
    args: one,
    options: createOptions,
    example: "runc create --bundle /bundles/web web",
    usesState: true,
    errorPrefix: "runc create failed",
  },
  debug: {
    summary: "run a program of the host in a container's namespaces, for images without a shell",
    usage: "<container-id> [-- <command> [<arg>...]]",
    args: { min: 1, max: Infinity },
    options: {
      tools: { type: "string", value: "dir", help: "use the programs in this directory instead of the host's" },
      cap: { type: "list", aliases: ["c"], value: "name", help: "add a capability to CAP_SYS_PTRACE; may be repeated" },
      tty: { type: "bool", aliases: ["t"], help: "give the program a terminal" },
      cwd: {
        type: "string",
        value: "dir",
        default: "/",
        help: "start in this directory; the container's root is /container",
      },
      env: { type: "list", aliases: ["e"], value: "name=value", help: "set an environment variable; may be repeated" },
    },
    example: "runc debug --tty web -- sh -l",
    usesState: true,
    errorPrefix: "debug failed",
    // As of exec: few programs use it.
    errorStatus: 255,
  },
  delete: {
    summary: "remove a stopped container and everything that belongs to it",
    usage: "<container-id>",
    args: one,
    options: { force: { type: "bool", aliases: ["f"], help: "kill the container first if it is not stopped" } },
    example: "runc delete web",
    usesState: true,
  },
  doctor: {
    summary: "print what this host offers to containers, and how to get what is missing",
    usage: "",
    args: none,
    options: {
      for: { type: "string", value: "dir", help: "print only what the bundle in this directory needs" },
      format: textOrJson,
    },
    example: "runc doctor --for /bundles/web",
  },
  events: {
    summary: "print resource usage at intervals, and out-of-memory events",
    usage: "<container-id>",
    args: one,
    argsReplacedBy: "all",
    options: {
      interval: { type: "duration", value: "duration", default: 5000, help: "print statistics this often" },
      stats: { type: "bool", help: "print statistics once and exit" },
      format: {
        type: "string",
        aliases: ["f"],
        value: "format",
        default: "json",
        choices: ["json", "prometheus"],
        help: "print json, or statistics once for prometheus",
      },
      all: { type: "bool", help: "print all running containers instead of one; needs --stats or --format prometheus" },
    },
    example: "runc events --stats web",
    usesState: true,
  },
  exec: {
    summary: "run another program in a container",
    usage: "<container-id> <command> [<arg>...]",
    args: { min: 1, max: Infinity },
    stopAtFirstArg: true,
    options: {
      "console-socket": consoleSocket,
      "pidfd-socket": pidfdSocket,
      cwd: { type: "string", value: "dir", help: "start in this directory of the container" },
      env: { type: "list", aliases: ["e"], value: "name=value", help: "set an environment variable; may be repeated" },
      tty: { type: "bool", aliases: ["t"], help: "give the program a terminal" },
      user: { type: "string", aliases: ["u"], value: "uid[:gid]", help: "run as this user" },
      "additional-gids": { type: "intList", aliases: ["g"], value: "gid", help: "add a group; may be repeated" },
      process: {
        type: "string",
        aliases: ["p"],
        value: "file",
        help: "read the process from this JSON file; other options for the process are ignored",
      },
      detach,
      "pid-file": pidFile,
      "process-label": { type: "string", value: "label", help: "set the SELinux label of the process" },
      apparmor: { type: "string", value: "profile", help: "set the AppArmor profile of the process" },
      "no-new-privs": { type: "bool", help: "prevent the process from gaining privileges" },
      cap: { type: "list", aliases: ["c"], value: "name", help: "add a capability; may be repeated" },
      "preserve-fds": preserveFds,
      cgroup: {
        type: "list",
        value: "[controller:]path",
        help: "start in this cgroup below the container's; may be repeated",
      },
      "ignore-paused": { type: "bool", help: "run even if the container is paused" },
    },
    example: "runc exec --env TERM=xterm --tty web sh -l",
    usesState: true,
    errorPrefix: "exec failed",
    // A program's own status is passed through, so our errors use one that few programs use.
    errorStatus: 255,
  },
  features: {
    summary: "print the features of this runtime as JSON",
    usage: "",
    args: none,
    options: {},
    example: "runc features",
  },
  hooks: {
    summary: "list the hooks of a container, or run one of them again with the state that it had on stdin",
    usage: "<container-id> | run <container-id> <name> [<n>]",
    args: { min: 1, max: 4 },
    options: { format: { ...textOrJson, help: "print the list as text or json" } },
    example: "runc hooks run web poststart 0",
    usesState: true,
  },
  init: {
    summary: "run a plan inside a new container; internal",
    usage: "",
    args: { min: 0, max: Infinity },
    options: {},
    example: "runc init",
    hidden: true,
  },
  inspect: {
    summary: "compare a container with its config: print what the kernel shows, and mark the differences",
    usage: "<container-id>",
    args: one,
    options: {
      "diff-only": { type: "bool", help: "print only the differences" },
      format: textOrJson,
    },
    example: "runc inspect --diff-only web",
    usesState: true,
  },
  kill: {
    summary: "send a signal to the container's first process",
    usage: "<container-id> [<signal>]",
    args: { min: 1, max: 2 },
    options: { all: { type: "bool", aliases: ["a"], hidden: true, help: "accepted for older callers" } },
    example: "runc kill web SIGTERM",
    usesState: true,
  },
  list: {
    summary: "list the containers in the state directory",
    usage: "",
    args: none,
    options: {
      // No `choices`: callers know the message for a wrong value, see output.ts.
      format: { type: "string", aliases: ["f"], value: "format", default: "table", help: "print a table or json" },
      quiet: { type: "bool", aliases: ["q"], help: "print only ids" },
    },
    example: "runc list --format json",
    usesState: true,
  },
  monitor: {
    summary: "do work for the monitor of a container; internal",
    usage: "",
    args: { min: 0, max: Infinity },
    options: {},
    example: "runc monitor",
    hidden: true,
    usesState: true,
    errorPrefix: "runc run failed",
  },
  pause: {
    summary: "suspend all processes of a container",
    usage: "<container-id>",
    args: one,
    options: {},
    example: "runc pause web",
    usesState: true,
  },
  plan: {
    summary: "print everything that a command would do, without doing it",
    usage: "[<container-id>] | <command> [<option>...] [<argument>...]",
    args: { min: 0, max: 1 },
    commandsAfter: [
      "run",
      "create",
      "exec",
      "debug",
      "start",
      "kill",
      "delete",
      "pause",
      "resume",
      "update",
      "checkpoint",
      "restore",
    ],
    options: {
      bundle,
      "no-pivot": { type: "bool", help: "plan to enter the root file system without pivot_root" },
      format: textOrJson,
    },
    example: "runc plan --bundle /bundles/web",
  },
  ps: {
    summary: "show the processes of a container",
    usage: "<container-id> [<ps option>...]",
    args: { min: 1, max: Infinity },
    stopAtFirstArg: true,
    options: {
      // No `choices`: callers know the message for a wrong value, see ps.ts.
      format: { type: "string", aliases: ["f"], value: "format", default: "table", help: "print a table or json" },
    },
    example: "runc ps web -e -x",
    usesState: true,
  },
  restore: {
    summary: "create a container from a checkpoint and wait until it ends",
    usage: "<container-id>",
    args: one,
    options: {
      ...criuOptions,
      bundle,
      "console-socket": consoleSocket,
      "pid-file": pidFile,
      detach,
      supervise,
      "no-subreaper": noSubreaper,
      "no-pivot": noPivot,
      "lsm-profile": { type: "string", value: "type:name", help: "use this security profile instead of the saved one" },
      "lsm-mount-context": {
        type: "string",
        value: "context",
        help: "use this SELinux context for mounts instead of the saved one",
      },
    },
    example: "runc restore --bundle /bundles/web --image-path /var/lib/images/web web",
    usesState: true,
  },
  resume: {
    summary: "resume the processes of a paused container",
    usage: "<container-id>",
    args: one,
    options: {},
    example: "runc resume web",
    usesState: true,
  },
  run: {
    summary: "create a container, start it and wait until it ends",
    usage: "<container-id>",
    args: one,
    options: {
      ...createOptions,
      detach,
      keep: { type: "bool", help: "keep the container after it has ended" },
      "no-subreaper": noSubreaper,
    },
    example: "runc run --bundle /bundles/web web",
    usesState: true,
    errorPrefix: "runc run failed",
  },
  seccomp: {
    summary: "explain what a seccomp filter decides about a system call, and by which rule",
    usage: "explain <container-id> <syscall> [<arg>...]",
    args: { min: 2, max: 9 },
    options: {
      bundle: { ...bundle, help: "explain the profile of the bundle in this directory; then there is no container id" },
      arch: { type: "string", value: "name", help: "the call's architecture, such as SCMP_ARCH_X86, if not this one" },
      instructions: { type: "bool", help: "also print the instructions of the filter that ran" },
      format: textOrJson,
    },
    example: "runc seccomp explain web clone CLONE_NEWUSER",
    usesState: true,
  },
  spec: {
    summary: "write a config.json template",
    usage: "",
    args: none,
    options: {
      bundle: { ...bundle, help: "write it to this directory instead of the current one" },
      rootless: { type: "bool", help: "make it work for the calling user, without root" },
    },
    example: "runc spec --bundle /bundles/web",
  },
  start: {
    summary: "start the program of a created container",
    usage: "<container-id>",
    args: one,
    options: {},
    example: "runc start web",
    usesState: true,
  },
  state: {
    summary: "print the state of a container as JSON",
    usage: "<container-id>",
    args: one,
    options: {},
    example: "runc state web",
    usesState: true,
  },
  top: {
    summary: "show the resource usage of containers continuously",
    usage: "",
    args: none,
    options: {
      interval: { type: "duration", value: "duration", default: 2000, help: "measure and refresh at this interval" },
      once: { type: "bool", help: "print one table and exit (as without a terminal)" },
    },
    example: "runc top --interval 5s",
    usesState: true,
  },
  update: {
    summary: "change the limits of a container",
    usage: "<container-id>",
    args: one,
    options: {
      resources: {
        type: "string",
        aliases: ["r"],
        value: "file",
        help: "read linux.resources from this JSON file (- for standard input); other options are ignored",
      },
      "blkio-weight": { type: "int", value: "n", help: "set the weight of block I/O, 10 to 1000" },
      "cpu-period": limit("us", "set the period of the CPU quota"),
      "cpu-quota": limit("us", "set the CPU time per period, -1 for no limit"),
      "cpu-burst": limit("us", "set the unused CPU time that a period may take over from earlier ones"),
      "cpu-share": limit("n", "set the CPU weight relative to other containers"),
      "cpu-rt-period": limit("us", "set the period of real-time processes"),
      "cpu-rt-runtime": limit("us", "set the CPU time of real-time processes per period"),
      "cpuset-cpus": limit("list", "set the CPUs to run on, such as 0-3,7"),
      "cpuset-mems": limit("list", "set the memory nodes to use, such as 0-1"),
      "kernel-memory": { ...limit("size", "ignored; accepted for older callers"), hidden: true },
      "kernel-memory-tcp": { ...limit("size", "ignored; accepted for older callers"), hidden: true },
      memory: limit("size", "set the memory limit, such as 512m; -1 for no limit"),
      "cpu-idle": limit("0|1", "run only when the CPU is otherwise idle (1), or as usual (0)"),
      "memory-reservation": limit("size", "set the memory protected when the host runs short"),
      "memory-swap": limit("size", "set the limit of memory plus swap, -1 for no limit"),
      "pids-limit": { type: "int", value: "n", help: "set the number of processes and threads, -1 for no limit" },
      "l3-cache-schema": limit("schema", "set the share of the L3 cache (Intel RDT)"),
      "mem-bw-schema": limit("schema", "set the share of the memory bandwidth (Intel RDT)"),
    },
    example: "runc update --memory 512m --pids-limit 100 web",
    usesState: true,
  },
  wait: {
    summary: "wait until the container's first process has ended, and exit with its status",
    usage: "<container-id>",
    args: one,
    options: {
      timeout: { type: "duration", value: "duration", help: "wait no longer than this; the status is then 255" },
      format: textOrJson,
    },
    example: "runc wait --timeout 30s web",
    usesState: true,
    // As of exec: few programs use it.
    errorStatus: 255,
  },
  help: {
    summary: "show help",
    usage: "[<command>]",
    args: { min: 0, max: 1 },
    options: {},
    example: "runc help run",
    aliases: ["h"],
  },
} as const satisfies Record<string, CommandSpec>;

/** Name of a command. */
export type CommandName = keyof typeof commands;

/** The type of one option after parsing; undefined is possible if it has no default. */
type ValueOf<O extends OptionSpec> = O["type"] extends "bool" ? boolean
  : O["type"] extends "list" ? readonly string[]
  : O["type"] extends "intList" ? readonly number[]
  : O extends { readonly default: unknown } ? Scalar<O>
  : Scalar<O> | undefined;

type Scalar<O extends OptionSpec> = O extends { readonly choices: readonly (infer Choice)[] } ? Choice
  : O["type"] extends "string" ? string
  : number;

/** The parsed values of a table of options, by the options' names. */
export type OptionValues<Options extends Readonly<Record<string, OptionSpec>>> = {
  readonly [Name in keyof Options]: ValueOf<Options[Name]>;
};

/** The global options. */
export type GlobalOptions = OptionValues<typeof globalOptions>;

/** The command with the name or alias `word`. */
export function findCommand(word: string): CommandName | undefined {
  return commandNames().find((name) => name === word || specOf(name).aliases?.includes(word));
}

/** Names of all commands, in the order of the table. */
export function commandNames(): readonly CommandName[] {
  return Object.keys(commands) as CommandName[];
}

/** The table's entry for `name`, as a general type without the entry's literal types. */
export function specOf(name: CommandName): CommandSpec {
  return commands[name];
}
