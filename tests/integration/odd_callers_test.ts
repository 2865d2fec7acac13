/** Callers with little room: few descriptors, a full disk; and what they hand over that is no text. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { rlimitNames } from "../../lib/ffi/constants.ts";
import { pipe } from "../../lib/ffi/files.ts";
import { getRlimit, setRlimit } from "../../lib/ffi/process/process.ts";
import { syscallNumber } from "../../lib/ffi/syscalls.ts";
import { executableOf, readAll, writeText } from "./foreground_harness.ts";
import {
  afterShell,
  type Box,
  boxTest,
  type Change,
  execute,
  inBox,
  isSnapshot,
  kernel,
  program,
  until,
} from "./harness.ts";

/** The caller's limits, and a script. */
const shell = (script: string): Change => (config) => {
  config.process.rlimits = [];
  config.process.args = ["sh", "-c", script];
};

/** `run` with a limit of open files. */
function runWithFiles(box: Box, limits: { soft: number; hard: number }, change: Change) {
  return box.run(change, { prefix: afterShell(`ulimit -Sn ${limits.soft}; ulimit -Hn ${limits.hard}`) });
}

boxTest("a caller whose soft limit of open files is small: run works, and the container has that limit", (box) => {
  for (const soft of [6, 8, 10, 12, 14, 16, 17, 18, 40]) {
    const { code, stdout, stderr } = runWithFiles(box, { soft, hard: 64 }, shell("ulimit -Sn; ulimit -Hn"));
    assertEquals([code, stdout, stderr], [0, `${soft}\n64\n`, ""], `soft limit ${soft}`);
  }
});

boxTest("a caller whose soft limit of open files is below what the monitor polls: run ends", (box) => {
  for (const soft of [0, 3, 4, 5, 6]) {
    // Below 4 the container's own limit leaves no descriptor to look for the program with.
    const own = Math.max(soft, 4);
    const change: Change = (config) => {
      shell("ulimit -Sn; ulimit -Hn; cat")(config);
      if (own !== soft) config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: own, hard: 1024 }];
    };
    const limits = `${own}\n1024\n`;
    const options = { prefix: afterShell(`ulimit -Sn ${soft}; ulimit -Hn 1024`) };
    const { code, stdout, stderr } = box.run(change, { ...options, stdin: "file" });
    assertEquals([code, stdout, stderr], [0, `${limits}file`, ""], `files, soft limit ${soft}`);

    const [input, output, errors] = [pipe(kernel, "stdin"), pipe(kernel, "stdout"), pipe(kernel, "stderr")];
    const ends = { stdin: input.read, stdout: output.write, stderr: errors.write };
    using running = box.start(["run", box.id], { ...options, ...ends });
    for (const end of Object.values(ends)) end.close();
    writeText(input.write, "pipe");
    input.write.close();
    assertEquals(running.wait().code, 0, `pipes, soft limit ${soft}`);
    assertEquals([readAll(output.read), readAll(errors.read)], [`${limits}pipe`, ""], `pipes, soft limit ${soft}`);
    for (const { read } of [output, errors]) read.close();
  }
});

boxTest("a caller whose soft limit of open files is smaller than the container needs is told so", (box) => {
  box.write(shell("echo in"));
  const { msg, code, hint } = box.refused(["run", box.id], { prefix: afterShell("ulimit -Sn 3; ulimit -Hn 1024") });
  assertEquals([msg.endsWith('exec: "sh": too many open files'), code], [true, "command-failed"], msg);
  assertMatch(hint!, /the caller's limit, leaves no descriptor/);
});

boxTest("a monitor that cannot wait any more says so and ends, and its process lives on", (box) => {
  box.write(shell("echo ready; read -r line; echo $line; exec sleep 1000"));
  const input = pipe(kernel, "stdin");
  using running = box.start(["run", box.id], { stdin: input.read });
  input.read.close();
  running.says("ready\n");
  until("the monitor", () => executableOf(running.pid).startsWith("/memfd:runc-monitor"));
  const files = rlimitNames.indexOf("RLIMIT_NOFILE");
  const { hard } = getRlimit(kernel, running.pid, files);
  assertEquals(setRlimit(kernel, running.pid, files, { soft: 3n, hard }), 0);
  // It is asked for the rows once more.
  writeText(input.write, "on\n");
  const { code, stderr } = running.wait();
  input.write.close();
  const { pid, status } = box.state();
  assertEquals([code, status], [1, "running"]);
  assertStringIncludes(stderr, `cannot monitor process ${pid} any more, it goes on alone: invalid argument`);
  box.remove();
});

boxTest("hooks, also those that the monitor has run, have the caller's limit of open files", (box) => {
  const hook = (name: string) => ({ path: "/bin/sh", args: ["sh", "-c", `ulimit -Sn > ${box.directory}/${name}`] });
  const change: Change = (config) => {
    config.process.rlimits = [];
    config.hooks = {
      createRuntime: [hook("createRuntime")],
      poststart: [hook("poststart")],
      poststop: [hook("poststop")],
    };
  };
  assertEquals(runWithFiles(box, { soft: 14, hard: 64 }, change).stderr, "");
  const read = (name: string) => Deno.readTextFileSync(`${box.directory}/${name}`);
  assertEquals(["createRuntime", "poststart", "poststop"].map(read), ["14\n", "14\n", "14\n"]);
});

boxTest("a caller whose hard limit of open files is too small is told so, and nothing stays", (box) => {
  const seen = new Set<number>();
  for (let hard = 8; hard < 24; hard++) {
    const { code, stderr } = runWithFiles(box, { soft: hard, hard }, shell("echo in"));
    seen.add(code);
    if (code !== 0) assertMatch(stderr, /too many open files.* errno=EMFILE/s, `hard limit ${hard}`);
    assertEquals(box.containers(), [], `hard limit ${hard}`);
  }
  assertEquals([...seen].sort(), [0, 1]);
});

boxTest("a hard limit of open files that does not let the program open its own file", (box) => {
  const { code, stdout, stderr } = runWithFiles(box, { soft: 3, hard: 3 }, shell("echo in"));
  assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
  assertMatch(stderr, /^runc: open \/proc\/self\/exe: too many open files\. .*ulimit -Hn/);
});

boxTest("a limit of open files in config.json that leaves none to look for the program with", (box) => {
  for (const command of ["sh", "/bin/sh"]) {
    const { msg, code, field } = box.runRefused((config) => {
      config.process.args = [command];
      config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 3, hard: 3 }];
    });
    assertMatch(msg, new RegExp(`exec: "${command}": too many open files$`));
    assertEquals([code, field], ["command-failed", "/process/args/0"]);
  }
});

boxTest("a state directory on a full disk, or on none that can be written to", (box) => {
  const inNamespace = (
    script: string,
  ) => ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", `${script} && exec "$@"`, "sh"];
  const mount = `mkdir -p ${box.root} && mount -t tmpfs`;
  const full = inNamespace(
    `${mount} -o size=8k full ${box.root} && { cat /dev/zero > ${box.root}/fill || true; } 2>&-`,
  );
  const readOnly = inNamespace(`${mount} -o ro full ${box.root}`);
  for (
    const [prefix, pattern, errno] of [[full, /no space left on device/, "ENOSPC"], [
      readOnly,
      /read-only file system/,
      "EROFS",
    ]] as const
  ) {
    const error = box.refused(["create", box.id], { prefix });
    assertMatch(error.msg, pattern);
    assert(error.msg.includes(box.root) || error.call?.includes(box.root), JSON.stringify(error));
    assertEquals([error.code, error.errno], ["syscall-failed", errno]);
  }
});

boxTest("a hook inherits the caller's environment byte for byte", (box) => {
  const names = ["createRuntime", "poststart", "poststop"];
  const print = (name: string) => `printf %s "$ODD" | od -An -tx1 > ${box.directory}/${name}`;
  box.write((config) => {
    config.hooks = Object.fromEntries(
      names.map((name) => [name, [{ path: "/bin/sh", args: ["sh", "-c", print(name)] }]]),
    );
  });
  for (
    const [value, bytes] of [["x\\377\\376y", "78 ff fe 79"], ["\\303\\251", "c3 a9"], [
      "\\357\\277\\275",
      "ef bf bd",
    ]] as const
  ) {
    box.must(["run", box.id], { prefix: afterShell(`export ODD="$(printf '${value}')"`) });
    for (const name of names) assertEquals(Deno.readTextFileSync(`${box.directory}/${name}`).trim(), bytes, name);
  }
});

boxTest(
  "what the specification does not know is ignored: fields, sections of other platforms, text behind the value",
  (box) => {
    box.write(shell("echo in"));
    const config = JSON.parse(Deno.readTextFileSync(`${box.bundle}/config.json`));
    const odd = { ...config, novelty: { deep: [1] }, windows: {}, process: { ...config.process, novelty: 1 } };
    box.writeText(`${JSON.stringify(odd)}\n }] }`);
    const { code, stdout, stderr } = box.runc(["--debug", "run", box.id]);
    assertEquals([code, stdout], [0, "in\n"]);
    const named = stderr.split("\n").filter((line) => line.includes("ignored: "));
    assertEquals(named.length, 1);
    for (const name of ["/novelty", "/process/novelty", "/windows", "what follows the JSON value"]) {
      assert(named[0]!.includes(name) && named[0]!.includes("level=debug"), named[0]);
    }
  },
);

boxTest("exec and update ignore what they do not know, too", (box) => {
  box.startSleeping();
  const write = (name: string, text: string) => {
    Deno.writeTextFileSync(`${box.directory}/${name}`, text);
    return `${box.directory}/${name}`;
  };
  const process = write("process.json", '{"args": ["echo", "in"], "cwd": "/", "env": ["PATH=/bin"], "novelty": 1} x');
  assertEquals(box.must(["exec", "--process", process, box.id]), "in\n");
  box.must([
    "update",
    "--resources",
    write("resources.json", '{"pids": {"limit": 50, "novelty": 1}, "novelty": {}}}'),
    box.id,
  ]);
  box.remove();
});

boxTest("a gid that the kernel cannot have", (box) => {
  box.startSleeping();
  const { msg, code } = box.refused(["exec", "--additional-gids", "99999999999", box.id, "true"]);
  assertEquals([msg, code], ["exec failed: additional-gids: 99999999999 is larger than 4294967295", "usage"]);
  box.remove();
});

boxTest("20,000 masked and read-only paths, 2,000 mounts", (box) => {
  const many = (count: number, of: (index: number) => unknown) =>
    Array.from({ length: count }, (_, index) => of(index));
  const stdout = box.run((config) => {
    config.process.args = ["sh", "-c", "grep -c ' /tmp/[0-9]* ' /proc/self/mountinfo; cat /etc/group"];
    config.linux.maskedPaths = [...many(20_000, (index) => `/none/${index}`), "/etc/group"] as string[];
    config.linux.readonlyPaths = many(20_000, (index) => `/none/${index}`) as string[];
    const mounts = many(2_000, (index) => ({
      destination: `/tmp/${index}`,
      type: "bind",
      source: "/etc",
      options: ["bind", index % 2 === 0 ? "ro" : "rw"],
    }));
    config.mounts = [...config.mounts, ...mounts as typeof config.mounts];
  }).stdout;
  assertEquals(stdout, "2000\n");
});

boxTest("processors and memory nodes beyond 1,023", (box) => {
  box.startSleeping((config) => {
    (config.process as Record<string, unknown>).execCPUAffinity = { initial: "0,2000", final: "0-1,65536" };
  });
  assertMatch(box.must(["exec", box.id, "grep", "Cpus_allowed_list", "/proc/self/status"]), /:\s*0(-1)?\n/);
  box.remove();
});

const limitsOf = (text: string, name: string) => new RegExp(`^${name} +(\\S+) +(\\S+)`, "m").exec(text)?.slice(1);

boxTest(
  "limits of addresses, data and files' size of the caller: commands work, and the container has the limits",
  (box) => {
    const cases: readonly [option: string, limit: number, unit: number, name: string][] = [
      ["-v", 16_000_000, 1024, "Max address space"],
      ["-v", 4_000_000, 1024, "Max address space"],
      ["-v", 800_000, 1024, "Max address space"],
      ["-d", 500_000, 1024, "Max data size"],
      ["-d", 200_000, 1024, "Max data size"],
      // In blocks of dash.
      ["-f", 16, 512, "Max file size"],
      ["-c", 0, 512, "Max core file size"],
    ];
    for (const [option, limit, unit, name] of cases) {
      const prefix = afterShell(`ulimit ${option} ${limit}`);
      const print: Change = (config) => {
        config.process.rlimits = [];
        config.process.args = ["cat", "/proc/self/limits"];
      };
      const { code, stdout, stderr } = box.run(print, { prefix });
      assertEquals([code, stderr], [0, ""], `ulimit ${option} ${limit}`);
      assertEquals(limitsOf(stdout, name), [`${limit * unit}`, `${limit * unit}`]);
      box.write((config) => {
        config.process.rlimits = [];
        config.process.args = ["sleep", "1000"];
      });
      box.must(["create", box.id], { prefix });
      box.must(["start", box.id], { prefix });
      assertEquals(limitsOf(box.must(["exec", box.id, "cat", "/proc/self/limits"], { prefix }), name), [
        `${limit * unit}`,
        `${limit * unit}`,
      ]);
      box.must(["delete", "--force", box.id], { prefix });
    }
  },
);

boxTest("limits of the caller that are too small are named, and nothing stays", (box) => {
  const cases: readonly [ulimit: string, pattern: RegExp][] = [
    ["-v 100000", /limit of the address space .* is too small: cannot allocate memory/],
    ["-v 20000", /limit of the address space .* is too small: cannot allocate memory/],
    ["-d 20000", /limit of data memory .* is too small: cannot allocate memory/],
    ["-f 2", /write .*state.*: file too large/],
  ];
  for (const command of ["create", "run"]) {
    for (const [ulimit, pattern] of cases) {
      const { code, stdout, stderr } = box.runc([command, box.id], { prefix: afterShell(`ulimit ${ulimit}`) });
      assertEquals([code, stdout, box.containers()], [1, "", []], `${ulimit}: ${stderr}`);
      assertMatch(stderr, pattern);
    }
  }
});

/** A caller that forbids memory which is writable and executable, also one after the other. */
const denyNewCode = (() => {
  const [prctl, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN] = [syscallNumber("prctl", Deno.build.arch), 65, 1];
  const script =
    `syscall(${prctl}, ${PR_SET_MDWE}, ${PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) == 0 or die; exec @ARGV or die`;
  return ["/usr/bin/perl", "-e", script];
})();

// Linux 6.3 has it. The launcher is Deno, whose compiler writes code.
const lacksDenial = execute([...denyNewCode, "/bin/true"]).code !== 0 || !isSnapshot(program);

Deno.test({
  name: "a caller that forbids new code (needs PR_SET_MDWE, a snapshot): every command works",
  ignore: lacksDenial,
  fn: () =>
    inBox("native", (box) => {
      const options = { prefix: denyNewCode };
      const { code, stdout, stderr } = box.run(shell("echo in; exit 3"), options);
      assertEquals([code, stdout, stderr], [3, "in\n", ""]);
      box.write(shell("sleep 1000"));
      box.must(["create", box.id], options);
      box.must(["start", box.id], options);
      assertEquals(box.must(["exec", box.id, "echo", "in"], options), "in\n");
      assertStringIncludes(box.must(["state", box.id], options), '"running"');
      box.must(["kill", box.id, "KILL"], options);
      until("the end", () => box.must(["state", box.id], options).includes('"stopped"'));
      box.must(["delete", box.id], options);
    }),
});
