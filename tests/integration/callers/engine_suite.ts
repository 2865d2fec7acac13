/** What Docker and Podman, whose command lines are alike, do with a runtime: the same table for both. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Result, until } from "../harness.ts";
import { type Engine, missing, type Needed, Workshop } from "./workshop.ts";

/** One thing that users of an engine do. */
type Case = readonly [name: string, body: (engine: Engine) => void];

/** What the containers of all tests are given; everything else is the default. */
const usual = ["--network=none"];

function run(engine: Engine, options: readonly string[], ...command: readonly string[]): Result {
  return engine.call(["run", "--rm", ...usual, ...options, engine.image, ...command]);
}

/** Output of a container that has to end well. */
function printed(engine: Engine, options: readonly string[], ...command: readonly string[]): string {
  const { code, stdout, stderr } = run(engine, options, ...command);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

function must(engine: Engine, ...args: readonly string[]): string {
  const { code, stdout, stderr } = engine.call(args);
  assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout.trimEnd();
}

/** Runs `body` with a container in the background, which sleeps. */
function withSleeper(engine: Engine, options: readonly string[], body: (name: string) => void): void {
  const name = `sleeper-${crypto.randomUUID()}`;
  must(engine, "run", "--detach", "--name", name, ...usual, ...options, engine.image, "sleep", "1000");
  try {
    body(name);
  } finally {
    // Removing asks it politely first, which sleep does not hear; it may have ended, so this may fail.
    engine.call(["kill", name]);
    must(engine, "rm", "--force", name);
  }
}

const status = (engine: Engine, name: string) => must(engine, "inspect", "--format", "{{.State.Status}}", name);

const statuses: readonly [what: string, command: string[], code: number, stderr: RegExp][] = [
  ["0", ["true"], 0, /^$/],
  ["7", ["sh", "-c", "exit 7"], 7, /^$/],
  ["126: a file that is no program", ["/work/script"], 126, /permission denied/i],
  ["127: no such program on PATH", ["nonsense"], 127, /executable file not found in \$PATH/],
  ["127: no such file", ["/work/nonsense"], 127, /no such file or directory/],
];

const cases: readonly Case[] = [
  ["output of both kinds comes through", (engine) => {
    const { stdout, stderr } = run(engine, [], "sh", "-c", "echo out; echo err >&2");
    assertEquals([stdout, stderr], ["out\n", "err\n"]);
  }],
  ...statuses.map(([what, command, code, stderr]): Case => [`exit status ${what}`, (engine) => {
    const seen = run(engine, [], ...command);
    assertEquals(seen.code, code, seen.stderr);
    assertMatch(seen.stderr, stderr);
  }]),
  ["input comes through, and its end", (engine) => {
    const args = ["run", "--rm", "--interactive", ...usual, engine.image, "sort"];
    assertEquals(engine.call(args, { stdin: "b\na\n" }).stdout, "a\nb\n");
  }],
  ["--tty gives a terminal", (engine) => {
    assertEquals(printed(engine, ["--tty"], "sh", "-c", "tty && test -t 2 && echo yes"), "/dev/pts/0\r\nyes\r\n");
  }],
  ["a container in the background: logs, exec, its statuses, terminals and users", (engine) => {
    withSleeper(engine, [], (name) => {
      assertEquals(status(engine, name), "running");
      assertEquals(must(engine, "exec", name, "echo", "inside"), "inside");
      assertEquals(engine.call(["exec", name, "sh", "-c", "exit 9"]).code, 9);
      assertEquals(engine.call(["exec", name, "nonsense"]).code > 125, true);
      assertEquals(must(engine, "exec", "--tty", name, "tty"), "/dev/pts/0");
      assertEquals(
        must(engine, "exec", "--user", "1000:1000", "--workdir", "/tmp", name, "sh", "-c", "id -u; pwd"),
        "1000\n/tmp",
      );
      assertEquals(must(engine, "exec", "--env", "A=b c", name, "sh", "-c", 'echo "$A"'), "b c");
      assertEquals(engine.call(["exec", "--interactive", name, "cat"], { stdin: "in" }).stdout, "in");
    });
  }],
  ["what a container in the background has printed is in its log", (engine) => {
    const id = must(engine, "run", "--detach", ...usual, engine.image, "sh", "-c", "echo one; echo two >&2");
    assertEquals(must(engine, "wait", id), "0");
    const { stdout, stderr } = engine.call(["logs", id]);
    assertEquals([stdout, stderr], ["one\n", "two\n"]);
    must(engine, "rm", id);
  }],
  ["create, start, and start again", (engine) => {
    const id = must(engine, "create", ...usual, engine.image, "sh", "-c", "echo again; exit 3");
    for (const attached of [1, 2]) {
      const { code, stdout } = engine.call(["start", "--attach", id]);
      assertEquals([attached, code, stdout], [attached, 3, "again\n"]);
    }
    must(engine, "rm", id);
  }],
  ["pause and unpause", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "pause", name);
      assertEquals(status(engine, name), "paused");
      assert(engine.call(["exec", name, "true"]).code !== 0);
      must(engine, "unpause", name);
      assertEquals([status(engine, name), must(engine, "exec", name, "echo", "on")], ["running", "on"]);
    });
  }],
  ["a paused container can be removed", (engine) => withSleeper(engine, [], (name) => must(engine, "pause", name))],
  ["kill sends a signal, and the status tells of it", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "kill", "--signal", "KILL", name);
      assertEquals(must(engine, "wait", name), "137");
    });
  }],
  ["stop lets a container end by itself", (engine) => {
    const trap = 'trap "exit 5" TERM; while :; do sleep 0.01; done';
    const id = must(engine, "run", "--detach", ...usual, engine.image, "sh", "-c", `${trap}`);
    must(engine, "exec", id, "true");
    must(engine, "stop", "--time", "10", id);
    assertEquals(must(engine, "wait", id), "5");
    must(engine, "rm", id);
  }],
  ["stop kills what does not end", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "stop", "--time", "0", name);
      assertEquals(must(engine, "wait", name), "137");
    });
  }],
  ["top shows its processes", (engine) => {
    withSleeper(engine, [], (name) => assertMatch(must(engine, "top", name), /sleep 1000/));
  }],
  ["a volume is the host's directory, read-only if wanted", (engine) => {
    const volume = `${engine.directory}/volume`;
    Deno.mkdirSync(volume, { recursive: true });
    assertEquals(
      printed(engine, ["--volume", `${volume}:/v`], "sh", "-c", "echo kept > /v/file; cat /v/file"),
      "kept\n",
    );
    assertEquals(Deno.readTextFileSync(`${volume}/file`), "kept\n");
    const { code, stderr } = run(engine, ["--volume", `${volume}:/v:ro`], "touch", "/v/file");
    assertEquals([code, /Read-only file system/.test(stderr)], [1, true], stderr);
  }],
  ["a file as a volume", (engine) => {
    Deno.writeTextFileSync(`${engine.directory}/one`, "one\n");
    assertEquals(printed(engine, ["--volume", `${engine.directory}/one:/etc/one`], "cat", "/etc/one"), "one\n");
  }],
  ["--cap-drop and --cap-add", (engine) => {
    const caps = (...options: string[]) => printed(engine, options, "grep", "CapEff", "/proc/self/status").trim();
    assertEquals(caps("--cap-drop=all"), "CapEff:\t0000000000000000");
    assertEquals(caps("--cap-drop=all", "--cap-add=kill"), "CapEff:\t0000000000000020");
  }],
  ["--user, --workdir, --env, --hostname", (engine) => {
    const options = ["--user", "1000:1000", "--workdir", "/work", "--env", "WHAT=that", "--hostname", "box"];
    assertEquals(
      printed(engine, options, "sh", "-c", "id -u; id -g; pwd; echo $WHAT; hostname"),
      "1000\n1000\n/work\nthat\nbox\n",
    );
  }],
  ["--read-only and --tmpfs", (engine) => {
    const script = "touch /x 2>/dev/null || echo refused; touch /t/x && stat -f -c %T /t";
    assertEquals(printed(engine, ["--read-only", "--tmpfs", "/t"], "sh", "-c", script), "refused\ntmpfs\n");
  }],
  ["the host's pid namespace", (engine) => {
    withSleeper(engine, ["--pid=host"], (name) => {
      const pid = must(engine, "inspect", "--format", "{{.State.Pid}}", name);
      assertEquals(must(engine, "exec", name, "sh", "-c", `test -d /proc/${pid} && echo there`), "there");
    });
  }],
  ["several at once", (engine) => {
    const ids = [1, 2, 3].map((n) => must(engine, "run", "--detach", ...usual, engine.image, "sh", "-c", `exit ${n}`));
    assertEquals(ids.map((id) => must(engine, "wait", id)), ["1", "2", "3"]);
    must(engine, "rm", ...ids);
  }],
  ["a name that was used is free again", (engine) => {
    for (const word of ["one", "two"]) assertEquals(printed(engine, ["--name", "same"], "echo", word), `${word}\n`);
  }],
  ["the container is gone after --rm", (engine) => {
    run(engine, ["--name", "gone"], "true");
    until("its end", () => engine.call(["inspect", "gone"]).code !== 0);
  }],
];

/** Declares the tests of one engine. `open` starts it in a workshop. */
export function engineSuite(name: string, needed: readonly Needed[], open: (workshop: Workshop) => Engine): void {
  const lacking = missing(needed);
  Deno.test({
    name: `${name}${lacking}`,
    ignore: lacking !== "",
    fn: async (t) => {
      using workshop = new Workshop();
      const engine = open(workshop);
      for (const [what, body] of cases) await t.step(what, () => body(engine));
    },
  });
}
