/** What Docker and Podman, whose command lines are alike, do with a runtime: the same table for both. */

import { assertEquals, assertMatch } from "@std/assert";
import { until } from "../harness.ts";
import { type Case, must, printed, run, status, usual, withSleeper } from "./engine.ts";

const statuses: readonly [what: string, command: string[], code: number, stderr: RegExp][] = [
  ["0", ["true"], 0, /^$/],
  ["7", ["sh", "-c", "exit 7"], 7, /^$/],
  ["126: a file that is no program", ["/work/script"], 126, /permission denied/i],
  ["127: no such program on PATH", ["nonsense"], 127, /executable file not found in \$PATH/],
  ["127: no such file", ["/work/nonsense"], 127, /no such file or directory/],
];

/** What works for every user. */
export const usualCases: readonly Case[] = [
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
  ["kill sends a signal, and the status tells of it", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "kill", "--signal", "KILL", name);
      assertEquals(must(engine, "wait", name), "137");
    });
  }],
  ["stop lets a container end by itself", (engine) => {
    const script = 'trap "exit 5" TERM; echo > /ready; while :; do sleep 0.01; done';
    const id = must(engine, "run", "--detach", ...usual, engine.image, "sh", "-c", script);
    must(engine, "exec", id, "sh", "-c", "until test -e /ready; do sleep 0.01; done");
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
    Deno.mkdirSync(volume);
    Deno.chmodSync(volume, 0o777);
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
  ["the default seccomp profile is there, and another one can be", (engine) => {
    const script = "grep Seccomp: /proc/self/status; mkdir /x";
    assertEquals(printed(engine, [], "sh", "-c", script), "Seccomp:\t2\n");
    const profile = `${engine.directory}/profile.json`;
    const refused = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95 };
    Deno.writeTextFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [refused] }));
    const { code, stdout, stderr } = run(engine, [`--security-opt=seccomp=${profile}`], "sh", "-c", script);
    assertEquals([code, stdout], [1, "Seccomp:\t2\n"]);
    assertMatch(stderr, /Operation not supported/);
    const unconfined = ["--security-opt=seccomp=unconfined", "--security-opt=no-new-privileges"];
    assertEquals(
      printed(engine, unconfined, "grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"),
      "NoNewPrivs:\t1\nSeccomp:\t0\n",
    );
  }],
  ["--shm-size, --oom-score-adj, --group-add, --ulimit", (engine) => {
    const options = ["--shm-size=1m", "--oom-score-adj=500", "--group-add=77", "--ulimit=nofile=100:200"];
    // Podman would raise it as far as it goes, for which root needs CAP_SYS_RESOURCE.
    const processes = "--ulimit=nproc=1000:1000";
    const script = "stat -f -c '%b %s' /dev/shm; cat /proc/self/oom_score_adj; id -G; ulimit -Sn; ulimit -Hn";
    assertEquals(printed(engine, [...options, processes], "sh", "-c", script), "256 4096\n500\n0 77\n100\n200\n");
  }],
  ["rm --force ends a container that runs, and takes one that was only created", (engine) => {
    const running = must(engine, "run", "--detach", ...usual, engine.image, "sh", "-c", 'trap "" TERM; sleep 1000');
    // Docker kills at once; Podman asks first, for as long as it is told.
    const force = ["rm", "--force", ...(engine.call(["rm", "--help"]).stdout.includes("--time") ? ["--time=0"] : [])];
    must(engine, ...force, running);
    const created = must(engine, "create", ...usual, engine.image, "true");
    must(engine, ...force, created);
    assertEquals([running, created].map((id) => engine.call(["inspect", id]).code === 0), [false, false]);
  }],
  ["restart, and a policy for restarts", (engine) => {
    withSleeper(engine, [], (name) => {
      must(engine, "restart", "--time", "0", name);
      assertEquals(must(engine, "exec", name, "echo", "again"), "again");
    });
    const options = ["--detach", "--restart=on-failure:2", ...usual];
    const id = must(engine, "run", ...options, engine.image, "sh", "-c", "echo again; exit 3");
    const seen = () =>
      must(engine, "inspect", "--format", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", id);
    until("its last end", () => seen() === "2 exited 3");
    assertEquals(engine.call(["logs", id]).stdout, "again\nagain\nagain\n");
    must(engine, "rm", id);
  }],
];
