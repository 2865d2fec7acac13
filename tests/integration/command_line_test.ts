/**
 * The command line beside Debian's runc: which words are accepted, what is printed where, which status it ends with. Help texts are
 * our own, so of standard output the first line counts.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { pipe } from "../../lib/ffi/files.ts";
import { type Box, boxTest, comparing, everyone, execute, kernel, type Runtime } from "./harness.ts";

const besideDebian: readonly Runtime[] = ["native", "debian"];

/** What a caller sees, without times, our own fields, and the name that the program was called by. */
function seen(box: Box, args: readonly string[]): unknown {
  const { code, stdout, stderr } = box.runc(args);
  const message = /msg=("(?:[^"\\]|\\.)*"|\S+)/.exec(stderr)?.[1] ?? stderr;
  return { code, stdout: stdout.split("\n")[0], message: message.replace(/"\S*runc: /, '"').replace(/\\n"$/, '"') };
}

/** Command lines that both take in the same way, right and wrong ones. */
const lines: readonly string[] = [
  "state",
  "state a b",
  "state missing",
  "state a/b",
  "state ..",
  "state -- missing",
  "state - missing",
  "-root /tmp/none state missing",
  "kill",
  "kill a b c",
  "kill missing",
  "kill missing NONSENSE",
  "kill --all missing KILL",
  "kill missing KILL --all",
  "delete missing",
  "delete --force missing",
  "delete missing --force",
  "delete missing -f",
  "delete missing --force=false",
  "start missing",
  "pause missing",
  "pause missing -- x",
  "state --",
  "list --quiet --",
  "resume missing",
  "ps",
  "ps missing",
  "ps missing --format json",
  "exec",
  "exec missing",
  "exec missing true",
  "exec --user=abc missing true",
  "exec -e A=1 -e B=2,3 -c CAP_KILL -g 5 --cgroup cpu,cpuacct:x missing true",
  "exec -g 1,2 missing true",
  "exec -td missing true",
  "list a",
  "list -f json",
  "list --format json",
  "list --format=xml",
  "list --format",
  "list -q",
  "list --quiet=false",
  "list --quiet=maybe",
  "list --nonsense",
  "list -- -x",
  "features extra",
  "spec extra",
  "spec --bundle /nowhere",
  "run",
  "run a b",
  "run --bundle /nowhere a",
  "run --preserve-fds x a",
  "run --preserve-fds",
  "create --bundle / a",
  "create ..",
  "run a:b",
  "--nonsense list",
  "--root",
  "--log-format xml list",
  "--log-format text list",
  "--log /nowhere/log list",
  "--rootless nonsense list",
  "--debug=false list",
  "nonsense",
  "nonsense --help",
  "help nonsense",
  "-h",
  "help",
  "h",
];
for (const line of lines) {
  comparing(`runc ${line}`, (box) => {
    Deno.mkdirSync(box.root, { recursive: true });
    return seen(box, line.split(" "));
  }, besideDebian);
}

// --- names of options ------------------------------------------------------------------------------------------------------

/** The names in a help text, hidden ones are not there. */
const optionNames = (help: string) => [...help.matchAll(/(?<=\s)--?([a-z][a-z-]*)/g)].map(([, name]) => name!);

/** Ours. */
const additions: Readonly<Record<string, readonly string[]>> = {
  create: ["supervise", "seccomp-audit"],
  restore: ["supervise"],
  run: ["supervise", "seccomp-audit"],
};
/** What runc 1.5 has and 1.1.5 has not. */
const since: Readonly<Record<string, readonly string[]>> = {
  checkpoint: ["link-remap", "tcp-skip-in-flight"],
  create: ["pidfd-socket"],
  run: ["pidfd-socket"],
  exec: ["pidfd-socket"],
};
/** What is not for users any more, and still accepted. */
const hidden: Readonly<Record<string, readonly string[]>> = { kill: ["all", "a"] };

const commands = "checkpoint create delete exec features kill list pause ps restore resume run spec start state".split(
  " ",
);
for (const command of commands) {
  boxTest(`${command} has runc's options, and no others but our additions`, (box) => {
    const text = box.must([command, "--help"]);
    const ours = optionNames(text.slice(text.indexOf("OPTIONS:"), text.indexOf("EXAMPLE:")));
    const theirs = optionNames(optionsOf(box, command));
    const wanted = [...theirs, ...(since[command] ?? []), ...(additions[command] ?? []), "help", "h"].filter((name) =>
      !hidden[command]?.includes(name)
    );
    assertEquals([...new Set(ours)].sort(), [...new Set(wanted)].sort());
  });
}

/** The part of Debian's help on a command that lists its options; it is empty where there are none. */
function optionsOf(box: Box, command: string): string {
  const text = new TextDecoder().decode(
    new Deno.Command("/usr/sbin/runc", { args: ["--root", box.root, command, "--help"] }).outputSync().stdout,
  );
  return /^OPTIONS:\n([^]*)/m.exec(text)?.[1] ?? "";
}

// --- output that does not arrive -------------------------------------------------------------------------------------------------

comparing("a log that cannot be written to is told of on stderr, and hinders nothing", (box) => {
  const log = (...args: string[]) => ["--log", "/dev/full", "--log-format", "json", ...args];
  const refused = box.runc(log("state", "missing"));
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertEquals(box.runc(log("create", box.id)).code, 0);
  box.remove();
  return refused.stderr.split("\n").filter((line) => !line.startsWith("Hint: "));
}, everyone);

comparing("whoever reads the results may go: no error is told", (box) => {
  const { read, write } = pipe(kernel, "results");
  read.close();
  using stdout = write;
  const { code, stderr } = box.runc(["features"], { stdout });
  assertEquals([code, stderr], [141, ""]);
}, besideDebian);

comparing("results that cannot be written are an error", (box) => {
  const { code, stderr } = execute(["/bin/sh", "-c", '"$@" features >/dev/full', "sh", ...box.argv()]);
  assertMatch(stderr, /level=error msg="write.*no space left on device"/);
  return code;
}, besideDebian);

// --- global options ----------------------------------------------------------------------------------------------------------

comparing("global options: one dash or two, a value behind a blank or an equals sign", (box) => {
  box.startSleeping();
  const spellings = [["--root", box.root], ["-root", box.root], [`--root=${box.root}`], [`-root=${box.root}`]];
  // The last --root wins.
  const ids = spellings.map((spelling) => box.must([...spelling, "list", "-q"]));
  box.remove();
  return ids;
}, everyone);

comparing("a relative --root is one below the working directory", (box) => {
  box.startSleeping();
  const ids = box.must(["--root", "../state", "list", "--quiet"], { cwd: box.bundle });
  box.remove();
  return ids;
}, everyone);

boxTest("a --root that was named has to be there for list, the default one does not", (box) => {
  const { code, stderr } = box.runc(["list"]);
  assertEquals(code, 1);
  assertMatch(stderr, /open .*state: no such file or directory/);
});

boxTest("list tells what is no container on standard error, and succeeds", (box) => {
  const pid = box.startSleeping();
  for (const name of ["no:id", "empty"]) Deno.mkdirSync(`${box.root}/${name}`);
  Deno.writeTextFileSync(`${box.root}/file`, "");
  const { code, stdout, stderr } = box.runc(["list", "--format", "json"]);
  const complaints =
    "load container empty: container does not exist\nload container no:id: invalid container ID format\n";
  assertEquals({ code, stderr }, { code: 0, stderr: complaints });
  assertEquals(JSON.parse(stdout).map(({ id, pid }: { id: string; pid: number }) => [id, pid]), [[box.id, pid]]);
  for (const name of ["no:id", "empty", "file"]) Deno.removeSync(`${box.root}/${name}`);
  box.remove();
});

comparing("list: owner by name, state: no owner; keys in order; created in UTC with nanoseconds", (box) => {
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.annotations = { "org.b": "<&>", "org.a": "1" };
  });
  box.must(["create", box.id]);
  const text = box.must(["state", box.id]);
  const state = JSON.parse(text);
  const [listed] = JSON.parse(box.must(["list", "-f", "json"]));
  assertMatch(state.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
  assertEquals(listed, { ...state, owner: "root" });
  const [, row] = box.must(["list"]).split("\n");
  assertEquals(row!.split(/ {3,}/).length, 6);
  box.remove();
  const { pid: _pid, created: _created, ociVersion: _version, ...rest } = state;
  return {
    keys: Object.keys(state),
    escaped: /\\u003c\\u0026\\u003e/.test(text),
    rest: box.plain(JSON.stringify(rest)),
  };
}, everyone);
