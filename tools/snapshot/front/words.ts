/**
 * The front's view of the command line and the environment. What it does not know for sure, it leaves to the snapshot.
 *
 * @module
 */

import { ExecOption, execOptionWords } from "../../../lib/cli/words/known.ts";
import type { CommandName, globalOptions } from "../../../lib/cli/table.ts";
import { AT_FDCWD, signalNames, STAT_SIZE, statOffsets } from "../../../lib/ffi/constants.ts";
import { at, buffer, bytes, call, load, set, slot, stack, step, text, when } from "../../../lib/plan/build.ts";
import type { Op, Slot, Step } from "../../../lib/plan/op.ts";
import { add, advance, choose, leave, need, readShort, repeatUntil } from "./ops.ts";

/** Addresses of words; 0 if they are not there. */
export const root: Slot = slot("root"), log: Slot = slot("log"), id: Slot = slot("id");
/** The value of --log-format; 0 without it. */
export const format: Slot = slot("log format");
/** The number of a command in {@link served}. */
export const command: Slot = slot("command");
/** Whether the command's option was given. */
export const option: Slot = slot("option");
/** Of `kill`. */
export const signal: Slot = slot("signal");
/** Of `exec`: the address of the word `exec` in argv, and how many words follow it. */
export const execWords: Slot = slot("exec words"), execCount: Slot = slot("number of exec words");
/** Of `exec`: the files of `--process` and `--pid-file`. */
export const processFile: Slot = slot("process file"), pidFile: Slot = slot("pid file");
/** The address of the environment's first entry. */
export const environment: Slot = slot("environment");

/** A command that the front knows. */
export interface Served {
  readonly number: number;
  /** The words of its only option. */
  readonly option: readonly string[];
}

/** The commands that the front knows. */
export const served = {
  state: { number: 1, option: [] },
  start: { number: 2, option: [] },
  // It matters only if the container does not run, which is left to the snapshot.
  kill: { number: 3, option: ["--all", "-a"] },
  delete: { number: 4, option: ["--force", "-f"] },
  pause: { number: 5, option: [] },
  resume: { number: 6, option: [] },
  // Its options are read apart from the others'.
  exec: { number: 7, option: [] },
} as const satisfies Partial<Record<CommandName, Served>>;

/** The name of a command that the front knows. */
export type ServedName = keyof typeof served;

/** The program's options that the front knows. */
export const options = { root: 1, log: 2, "log-format": 3, "systemd-cgroup": 4 } as const satisfies Partial<
  Record<keyof typeof globalOptions, number>
>;

/** Variables that change what a command does: with them, the snapshot carries it out. */
const variables = { RUNC_INIT: 1, XDG_RUNTIME_DIR: 2, NOTIFY_SOCKET: 3 } as const;

const next = slot("next word"), word = slot("word"), value = slot("value"), choice = slot("choice");
const character = slot("character"), place = slot("place");

const nextWord = (out: Slot): readonly Op[] => [advance(next, 8), load(next, 8, out)];

/** The option's value: after `=`, or the next word. */
const optionValue = (out: Slot): readonly Op[] => [
  when(value, "!=", 0, [set(out, value)], [...nextWord(out), needWord(out)]),
];

/** There is a word. */
const needWord = (word: Slot): Op => when(word, "==", 0, [leave]);

const globalOptionSteps: Step = step("read the options", "", [
  set(next, stack),
  ...nextWord(word),
  // Without its name, the program has no words at all.
  needWord(word),
  set(root, text("/run/runc")),
  repeatUntil(
    [
      ...nextWord(word),
      needWord(word),
      ...readShort(word, value),
      ...choose(Object.fromEntries(Object.entries(options).map(([name, number]) => [`--${name}`, number])), choice),
      when(choice, "==", options.root, optionValue(root)),
      when(choice, "==", options.log, optionValue(log)),
      when(choice, "==", options["log-format"], optionValue(format)),
      when(choice, "==", options["systemd-cgroup"], [need(value, 0)]),
    ],
    choice,
    0,
  ),
  need(value, 0),
]);

const kind = slot("kind of option");

/** The value of an option, a word of its own. */
const fileValue = (out: Slot): readonly Op[] => [need(value, 0), ...nextWord(out), needWord(out)];

/** The options of `exec`, up to the id. What follows is compared as a whole. */
const readExecWords: readonly Op[] = [
  set(execWords, next),
  repeatUntil(
    [
      ...nextWord(id),
      needWord(id),
      load(id, 1, character),
      set(kind, 0),
      when(character, "==", 0x2d, [
        ...readShort(id, value),
        ...choose(execOptionWords, kind),
        needWord(kind),
        when(kind, "==", ExecOption.flag, [need(value, 0)]),
        when(kind, "==", ExecOption.value, [when(value, "==", 0, [...nextWord(word), needWord(word)])]),
        when(kind, "==", ExecOption.process, fileValue(processFile)),
        when(kind, "==", ExecOption.pidFile, fileValue(pidFile)),
      ]),
    ],
    kind,
    0,
  ),
];

/** Skips the words of `exec`. */
const countExecWords: readonly Op[] = [
  set(next, execWords),
  repeatUntil([...nextWord(word), when(word, "!=", 0, [advance(execCount, 1)])], word, 0),
];

const commandSteps: Step = step("read the command and its arguments", "", [
  ...choose(Object.fromEntries(Object.entries(served).map(([name, { number }]) => [name, number])), command),
  needWord(command),
  when(command, "==", served.exec.number, readExecWords, [...nextWord(id), needWord(id)]),
  ...Object.values(served).filter(({ option }) => option.length > 0).map(({ number, option: names }) =>
    when(command, "==", number, [
      ...readShort(id),
      ...choose(Object.fromEntries(names.map((name) => [name, 1])), option),
      when(option, "==", 1, [...nextWord(id), needWord(id)]),
    ])
  ),
]);

/** Names with and without SIG, and numbers, as `kill` takes them. */
export const signals: Readonly<Record<string, number>> = Object.fromEntries(
  signalNames.flatMap((name, number) =>
    number === 0 ? [] : [name, name.replace(/^SIG/, ""), String(number)].map((text) => [text, number])
  ),
);

const SIGTERM = 15;

const signalSteps: Step = step("read the signal", "", [
  set(signal, SIGTERM),
  when(command, "==", served.kill.number, [
    ...nextWord(word),
    when(word, "!=", 0, [...readShort(word), ...choose(signals, signal), needWord(signal), ...nextWord(word)]),
  ], [when(command, "==", served.exec.number, countExecWords, nextWord(word))]),
  // Nothing follows.
  need(word, 0),
]);

const formatSteps: Step = step("check the log's format", "", [
  when(format, "!=", 0, [...readShort(format), ...choose({ json: 1, text: 2 }, choice), needWord(choice)]),
]);

/** The characters of an id. A first dash is an option's, and names with a first dot may be the directory itself. */
const idTable = bytes(
  Uint8Array.from({ length: 256 }, (_, code) => /[\w+.-]/.test(String.fromCharCode(code)) ? 1 : 0),
  "characters of an id",
);

const idSteps: Step = step("check the id", "", [
  load(id, 1, character),
  when(character, "==", 0x2d, [leave]),
  when(character, "==", 0x2e, [leave]),
  set(place, id),
  repeatUntil(
    [
      add(idTable, character, choice),
      load(choice, 1, choice),
      needWord(choice),
      advance(place, 1),
      load(place, 1, character),
    ],
    character,
    0,
  ),
]);

/** Like the parser of paths, the kernel leaves out double slashes. Dots can mean something else for it: symlinks. */
const rootSteps: Step = step("check the state directory", "", [
  load(root, 1, character),
  need(character, 0x2f),
  add(root, 1, place),
  load(place, 1, character),
  needWord(character),
  when(character, "==", 0x2f, [leave]),
  repeatUntil(
    [
      when(character, "==", 0x2f, [
        add(place, 1, choice),
        load(choice, 1, choice),
        when(choice, "==", 0x2e, [leave]),
      ]),
      advance(place, 1),
      load(place, 1, character),
    ],
    character,
    0,
  ),
]);

/** USER_NS_INIT_INO, include/uapi/linux/nsfs.h: the host's user namespace. */
const HOST_USERS = 0xeffffffd;
const users = buffer("struct stat of the user namespace", STAT_SIZE);

/** Root on the host has the same default directory, whatever its session says. */
const needHostRoot: readonly Op[] = [
  call("getuid", [], { out: choice }),
  need(choice, 0),
  call("newfstatat", [AT_FDCWD, "/proc/self/ns/user", users, 0]),
  load(at(users, statOffsets.x86_64.ino), 8, choice),
  need(choice, HOST_USERS),
];

const environmentSteps: Step = step("look at the environment", "", [
  add(next, 8, environment),
  ...nextWord(word),
  when(word, "!=", 0, [
    repeatUntil(
      [
        ...readShort(word, value),
        ...choose(variables, choice),
        when(choice, "==", variables.RUNC_INIT, [leave]),
        // The default directory then depends on the caller.
        when(choice, "==", variables.XDG_RUNTIME_DIR, [when(root, "==", text("/run/runc"), needHostRoot)]),
        when(choice, "==", variables.NOTIFY_SOCKET, [when(command, "==", served.start.number, [leave])]),
        ...nextWord(word),
      ],
      word,
      0,
    ),
  ]),
]);

/** Reads everything that the caller has passed. */
export const readWords: readonly Step[] = [
  globalOptionSteps,
  commandSteps,
  signalSteps,
  formatSteps,
  idSteps,
  rootSteps,
  environmentSteps,
];
