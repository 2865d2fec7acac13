import { assert, assertEquals } from "@std/assert";
import { parse, type Parsed, parseDuration } from "../../../lib/cli/parse.ts";
import { commandNames, findCommand, specOf } from "../../../lib/cli/table.ts";

const noEnvironment = () => undefined;

/** What is worth comparing of a command that was understood: only what was given. */
function understood(words: readonly string[]): unknown {
  const parsed: Parsed = parse(words, noEnvironment);
  if (parsed.kind !== "command") return parsed;
  const pick = (values: Readonly<Record<string, unknown>>, names: ReadonlySet<string>) =>
    Object.fromEntries([...names].map((name) => [name, values[name]]));
  return {
    command: parsed.command,
    global: pick(parsed.global, parsed.globalGiven),
    options: pick(parsed.options, parsed.given),
    args: parsed.args,
  };
}

interface Understood {
  readonly command: string;
  readonly global?: Readonly<Record<string, unknown>>;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly args?: readonly string[];
}

const accepted: readonly [line: string, wanted: Understood][] = [
  ["state a", { command: "state", args: ["a"] }],
  ["--root /r state a", { command: "state", global: { root: "/r" }, args: ["a"] }],
  ["--root=/r --debug state a", { command: "state", global: { root: "/r", debug: true }, args: ["a"] }],
  // Global options after the command.
  ["state a --root /r --debug", { command: "state", global: { root: "/r", debug: true }, args: ["a"] }],
  ["--root /r state --root /s a", { command: "state", global: { root: "/s" }, args: ["a"] }],
  // One dash and two; options after arguments.
  ["run -no-subreaper a", { command: "run", options: { "no-subreaper": true }, args: ["a"] }],
  ["run a -b /x", { command: "run", options: { bundle: "/x" }, args: ["a"] }],
  ["run a --b=/x", { command: "run", options: { bundle: "/x" }, args: ["a"] }],
  ["delete a --force", { command: "delete", options: { force: true }, args: ["a"] }],
  // Booleans.
  ["delete --force=false a", { command: "delete", options: { force: false }, args: ["a"] }],
  ["delete --force=T a", { command: "delete", options: { force: true }, args: ["a"] }],
  ["delete --force= a", { command: "delete", options: { force: true }, args: ["a"] }],
  // An empty value, and one that looks like an option.
  ["run --bundle= a", { command: "run", options: { bundle: "" }, args: ["a"] }],
  ["run --pid-file --keep a", { command: "run", options: { "pid-file": "--keep" }, args: ["a"] }],
  ["run --bundle a=b a", { command: "run", options: { bundle: "a=b" }, args: ["a"] }],
  // `--`, `-` and a dash before a digit end the options.
  ["state -- --debug", { command: "state", args: ["--debug"] }],
  ["kill a -9", { command: "kill", args: ["a", "-9"] }],
  ["kill -- a 9", { command: "kill", args: ["a", "9"] }],
  ["exec - --tty", { command: "exec", args: ["-", "--tty"] }],
  ["-- state --debug a", { command: "state", global: { debug: true }, args: ["a"] }],
  // What follows the container's id in exec and ps is the program's.
  ["exec -t a sh -c ls --env X", {
    command: "exec",
    options: { tty: true },
    args: ["a", "sh", "-c", "ls", "--env", "X"],
  }],
  ["exec a -- sh", { command: "exec", args: ["a", "sh"] }],
  ["exec a sh -- x", { command: "exec", args: ["a", "sh", "--", "x"] }],
  ["ps a -e --format json", { command: "ps", args: ["a", "-e", "--format", "json"] }],
  ["kill -a a KILL", { command: "kill", options: { all: true }, args: ["a", "KILL"] }],
  ["kill a KILL --all", { command: "kill", options: { all: true }, args: ["a", "KILL"] }],
  ["kill a -a -9", { command: "kill", options: { all: true }, args: ["a", "-9"] }],
  // Lists are not split on commas.
  ["exec -e A=1,2 -e B= a x", { command: "exec", options: { env: ["A=1,2", "B="] }, args: ["a", "x"] }],
  ["exec --cgroup cpu,cpuacct:x a x", { command: "exec", options: { cgroup: ["cpu,cpuacct:x"] }, args: ["a", "x"] }],
  ["exec -g 1 -g 0x10 a x", { command: "exec", options: { "additional-gids": [1, 16] }, args: ["a", "x"] }],
  ["run --preserve-fds 3 a", { command: "run", options: { "preserve-fds": 3 }, args: ["a"] }],
  ["run --preserve-fds 010 a", { command: "run", options: { "preserve-fds": 8 }, args: ["a"] }],
  // The command's own option wins over the global one of the same name.
  ["--rootless false spec --rootless", { command: "spec", global: { rootless: "false" }, options: { rootless: true } }],
  ["plan --format json", { command: "plan", options: { format: "json" } }],
  ["--criu /usr/sbin/criu list", { command: "list", global: { criu: "/usr/sbin/criu" } }],
  ["init", { command: "init" }],
  ["checkpoint --image-path /x --empty-ns network a", {
    command: "checkpoint",
    options: { "image-path": "/x", "empty-ns": ["network"] },
    args: ["a"],
  }],
  ["--root /r restore -d a", { command: "restore", global: { root: "/r" }, options: { detach: true }, args: ["a"] }],
];

Deno.test("parse() understands", async (t) => {
  for (const [line, wanted] of accepted) {
    await t.step(line, () => {
      assertEquals(understood(line.split(" ")), { global: {}, options: {}, args: [], ...wanted });
    });
  }
});

const refused: readonly [line: string, message: string, status: number, mark: ":" | "." | "" | undefined][] = [
  ["foo", "No help topic for 'foo'", 3, undefined],
  ["foo -h", "No help topic for 'foo'", 3, undefined],
  ["foo --version state", "No help topic for 'foo'", 3, undefined],
  ["help foo", "No help topic for 'foo'", 3, undefined],
  ["constructor", "No help topic for 'constructor'", 3, undefined],
  ["--nope state a", "flag provided but not defined: -nope", 1, "."],
  ["state ---a", "bad flag syntax: ---a", 1, ":"],
  ["--=a state", "bad flag syntax: --=a", 1, "."],
  ["state -nope a", "flag provided but not defined: -nope", 1, ":"],
  ["state --toString a", "flag provided but not defined: -toString", 1, ":"],
  // Short options are not grouped.
  ["exec -td a sh", "flag provided but not defined: -td", 1, ":"],
  ["state a --version", "flag provided but not defined: -version", 1, ":"],
  ["--root", "flag needs an argument: -root", 1, "."],
  ["run a -b", "flag needs an argument: -b", 1, ":"],
  ["delete --force=maybe a", 'invalid boolean value "maybe" for -force: parse error', 1, ":"],
  ["run --preserve-fds x a", 'invalid value "x" for flag -preserve-fds: parse error', 1, ":"],
  ["exec -g 1,2 a x", 'invalid value "1,2" for flag -g: strconv.ParseInt: parsing "1,2": invalid syntax', 1, ":"],
  ["--init=go list", 'invalid value "go" for flag -init: must be native or deno', 1, "."],
  ["plan --format xml", 'invalid value "xml" for flag -format: must be text or json', 1, ":"],
  ["state", 'runc: "state" requires exactly 1 argument(s)', 1, ""],
  ["state a b", 'runc: "state" requires exactly 1 argument(s)', 1, ""],
  ["list a", 'runc: "list" requires exactly 0 argument(s)', 1, ""],
  ["exec", 'runc: "exec" requires a minimum of 1 argument(s)', 1, ""],
  ["kill", 'runc: "kill" requires a minimum of 1 argument(s)', 1, ""],
  ["kill a 9 b", 'runc: "kill" requires a maximum of 2 argument(s)', 1, ""],
  [
    "plan state a",
    'runc: "plan" requires a maximum of 1 argument(s), or one of the commands run, create, exec, debug, start, kill, ' +
    "delete, pause, resume, update, checkpoint, restore",
    1,
    "",
  ],
];

Deno.test("parse() refuses", async (t) => {
  for (const [line, message, status, mark] of refused) {
    const heading = {
      ":": `Incorrect Usage: ${message}\n\n`,
      ".": `Incorrect Usage. ${message}\n\n`,
      "": "Incorrect Usage.\n\n",
    };
    await t.step(line, () => {
      const parsed = parse(line.split(" "), noEnvironment);
      assert(parsed.kind === "error");
      const wanted = mark === undefined ? undefined : heading[mark];
      assertEquals([parsed.message, parsed.status, parsed.heading], [message, status, wanted]);
    });
  }
});

Deno.test("parse() keeps the global options of a wrong command line, so that the log goes where it should", () => {
  const parsed = parse("--log /l --log-format json state --nope".split(" "), noEnvironment);
  assert(parsed.kind === "error");
  assertEquals([parsed.global.log, parsed.global["log-format"], parsed.topic], ["/l", "json", "state"]);
});

const answered: readonly [line: string, wanted: Parsed][] = [
  ["-h", { kind: "help" }],
  ["help", { kind: "help" }],
  ["h", { kind: "help" }],
  ["--help state", { kind: "help", topic: "state" }],
  ["help state", { kind: "help", topic: "state" }],
  ["state -h", { kind: "help", topic: "state" }],
  ["state a --help", { kind: "help", topic: "state" }],
  ["checkpoint --image-path /x --help", { kind: "help", topic: "checkpoint" }],
  ["restore -h", { kind: "help", topic: "restore" }],
  ["state --help --nope", { kind: "help", topic: "state" }],
  ["-v", { kind: "version" }],
  ["--version list", { kind: "version" }],
];

Deno.test("parse() answers requests for help and version", async (t) => {
  assertEquals(parse([], noEnvironment), { kind: "help" });
  for (const [line, wanted] of answered) {
    await t.step(line, () => assertEquals(parse(line.split(" "), noEnvironment), wanted));
  }
});

Deno.test("parse() fills in defaults, then the environment, then the command line", () => {
  const environment = (name: string) => name === "RUNC_INIT" ? "deno" : undefined;
  const initOf = (words: readonly string[], from: typeof environment | typeof noEnvironment) => {
    const parsed = parse(words, from);
    return parsed.kind === "command" ? parsed.global.init : parsed;
  };
  assertEquals(initOf(["list"], noEnvironment), "native");
  assertEquals(initOf(["list"], environment), "deno");
  assertEquals(initOf(["--init=native", "list"], environment), "native");
  const parsed = parse(["list"], () => "go");
  assert(parsed.kind === "error");
  assertEquals(parsed.message, 'invalid value "go" for $RUNC_INIT: must be native or deno');
});

Deno.test("parse() gives every option a value", () => {
  const parsed = parse(["exec", "a"], noEnvironment);
  assert(parsed.kind === "command" && parsed.command === "exec");
  assertEquals(Object.keys(parsed.options), Object.keys(specOf("exec").options));
  assertEquals([parsed.options.tty, parsed.options.env, parsed.options.cwd, parsed.options["preserve-fds"]], [
    false,
    [],
    undefined,
    0,
  ]);
  assertEquals([parsed.global.rootless, parsed.global.root, parsed.global.debug], ["auto", undefined, false]);
});

const durations: readonly [text: string, ms: number | undefined][] = [
  ["5s", 5000],
  ["100ms", 100],
  ["1h15m", 4_500_000],
  ["-1.5s", -1500],
  ["0", 0],
  [".5s", 500],
  ["5", undefined],
  ["", undefined],
  ["s", undefined],
  ["1d", undefined],
  ["1s ", undefined],
];

Deno.test("parseDuration() reads Go's durations", () => {
  for (const [text, ms] of durations) assertEquals(parseDuration(text), ms, text);
});

Deno.test("every command is found by its name and its aliases alone", () => {
  for (const name of commandNames()) {
    for (const word of [name, ...specOf(name).aliases ?? []]) assertEquals(findCommand(word), name);
  }
});

Deno.test("no two options of a command share a name", () => {
  for (const name of commandNames()) {
    const names = Object.entries(specOf(name).options).flatMap(([long, spec]) => [long, ...(spec.aliases ?? [])]);
    assertEquals(new Set([...names, "help", "h"]).size, names.length + 2, name);
  }
});

Deno.test("every example in the table is a command line that is understood", () => {
  for (const name of commandNames()) {
    const [program, ...words] = specOf(name).example.split(" ");
    const parsed = parse(words, noEnvironment);
    assertEquals(program, "runc");
    assert(parsed.kind === "command" && parsed.command === name || parsed.kind === "help", specOf(name).example);
  }
});
