/** Sandboxes on the host's own files: what a program in one sees, can do, and cannot do. As root. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { createRuntime, Kernel, loadSpec, runOutput } from "../../../mod.ts";
import { readSandboxFacts } from "../../../lib/sandbox/config/facts.ts";
import { readHostLayout } from "../../../lib/sandbox/config/host_layout.ts";
import type { IsolationOptions } from "../../../lib/sandbox/config/options.ts";
import { sandboxConfig, type SandboxRequest } from "../../../lib/sandbox/config/sandbox_config.ts";
import { writeSkeleton } from "../../../lib/sandbox/config/skeleton.ts";

const kernel = new Kernel();

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Everything below a directory, with owners, modes and times. */
function listing(directory: string): string {
  const { stdout } = new Deno.Command("find", { args: [directory, "-printf", "%p %y %m %U %s %T@ %C@\\n"] })
    .outputSync();
  return new TextDecoder().decode(stdout);
}

/** A directory for the state, roots and sources of mounts, and a cgroup of its own. */
class Box implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-sandbox-" });
  readonly warnings: string[] = [];

  /** Runs a shell script in a sandbox. */
  async run(script: string, options: IsolationOptions = {}): Promise<Result> {
    const request: SandboxRequest = {
      options,
      facts: readSandboxFacts(kernel, options.mounts),
      root: { kind: "host", layout: readHostLayout() },
      rootPath: "/",
      cgroupsPath: `/runc-sandbox-test-${Deno.pid}`,
      args: ["sh", "-c", script],
    };
    const { skeleton } = sandboxConfig(request);
    const rootPath = writeSkeleton(kernel, join(this.directory, "roots"), skeleton);
    const before = listing(rootPath);
    const runtime = createRuntime({
      kernel,
      root: join(this.directory, "state"),
      log: (level, text) => level === "debug" || this.warnings.push(text),
    });
    const spec = loadSpec(runtime, sandboxConfig({ ...request, rootPath }).config, this.directory);
    const { code, stdout, stderr } = await runOutput(runtime, { id: "box", spec });
    assertEquals(listing(rootPath), before, "the skeleton is shared and must not change");
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** The output of a script that has to succeed. */
  async must(script: string, options: IsolationOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(script, options);
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, script);
    return stdout;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

function boxTest(name: string, body: (box: Box) => Promise<void>): void {
  Deno.test(name, async () => {
    using box = new Box();
    await body(box);
    assertEquals(box.warnings, []);
  });
}

boxTest("a program has no rights: not root, no capability, a filter, no new privileges", async (box) => {
  const status = await box.must("id; grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status");
  assertMatch(status, /^uid=65534\(sandbox\) gid=65534\(sandbox\) groups=65534\(sandbox\)\n/);
  for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) assert(status.includes(`Cap${set}:\t0000000000000000\n`), set);
  assertMatch(status, /NoNewPrivs:\t1\n[^]*Seccomp:\t2\n/);
});

boxTest("ordinary programs run: shell, pipes, perl, tar, threads, a JavaScript engine", async (box) => {
  assertEquals(await box.must("seq 3 | sort -r --parallel=2 | tr '\\n' ' '"), "3 2 1 ");
  assertEquals(await box.must("perl -e 'print join q(,), map { $_ * 2 } 1..3'"), "2,4,6");
  assertEquals(await box.must("mkdir d; echo text > d/f; tar cf d.tar d; rm -r d; tar xf d.tar; cat d/f"), "text\n");
  const mounts = [{ source: Deno.execPath(), target: "/opt/deno" }];
  // Deno's parser runs on threads, and WebAssembly maps memory that it then executes.
  const program = "console.log(await new Response(new Blob([`abc`]).stream()).text(), (await fetch(`data:,x`)).status)";
  assertEquals(await box.must(`DENO_DIR=/tmp/deno NO_COLOR=1 /opt/deno eval '${program}'`, { mounts }), "abc 200\n");
});

boxTest("a program writes to the fresh directories only", async (box) => {
  const fresh = "for d in /tmp /var/tmp /run /home/sandbox /dev/shm; do echo x > $d/f && cat $d/f; done";
  assertEquals(await box.must(fresh), "x\n".repeat(5));
  for (const place of ["/", "/usr", "/etc", "/home", "/var", "/etc/ssl/certs", "/dev", "/proc/sys/kernel", "/root"]) {
    const { code, stderr } = await box.run(`touch ${place}/f`);
    assertEquals(code, 1, place);
    assertMatch(stderr, /Read-only file system|Permission denied|No such file/, place);
  }
  assertMatch(
    (await box.run("echo x > /proc/sys/kernel/hostname; echo x > /etc/passwd", { user: "root" })).stderr,
    /Read-only/,
  );
});

boxTest("a program sees nothing of the host but its programs", async (box) => {
  const secret = join(box.directory, "secret");
  Deno.writeTextFileSync(secret, "secret");
  const paths = ["/etc/shadow", "/etc/ssl/private", "/var/lib", "/var/log", "/boot", "/sys/kernel", secret];
  assertEquals(await box.must(`ls -d ${paths.join(" ")} 2>/dev/null || true`), "");
  assertEquals(
    await box.must("ls /home /tmp /var/tmp /run /home/sandbox"),
    "/home:\nsandbox\n\n/home/sandbox:\n\n/run:\n\n/tmp:\n\n/var/tmp:\n",
  );
  assertEquals(await box.must("ls /root | wc -l", { user: "root" }), "0\n");
  // Its own processes only, and its own name.
  assertMatch(await box.must("echo $$; ls -d /proc/[0-9]* | wc -l; hostname"), /^1\n[23]\nsandbox\n$/);
  assertEquals(await box.must("cut -d: -f1 /etc/passwd | tr '\\n' ' '"), "root sandbox ");
});

boxTest("no mount of the host's files allows setuid, devices or writing", async (box) => {
  const lines = (await box.must("cat /proc/self/mountinfo")).trim().split("\n").map((line) => line.split(" "));
  const host = lines.filter(([, , , , place]) => /^\/(usr|bin|sbin|lib|etc)/.test(place!));
  assert(host.length > 5);
  for (const [, , , , place, options] of host) {
    for (const option of ["ro", "nosuid", "nodev"]) assert(options!.split(",").includes(option), `${place} ${options}`);
  }
  const fresh = lines.filter(([, , , , place]) => /^\/(tmp|run|home|root|var)/.test(place!));
  assertEquals(fresh.length, 5);
  for (const [, , , , place, options] of fresh) assertMatch(options!, /nosuid,nodev/, place);
});

boxTest("the network is loopback alone, and works", async (box) => {
  assertEquals(
    await box.must("ls /proc/self/net/ >/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"),
    "lo\n",
  );
  const echo = `use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
    if (fork) { my $c = $s->accept; print $c "hello"; close $c; wait }
    else { print IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport)->getline }`;
  assertEquals(await box.must(`perl -e '${echo}'`), "hello");
  const { code } = await box.run(
    "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr => q(192.0.2.1:80)) or exit 7'",
  );
  assertEquals(code, 7);
});

/** What a program tries, by system call, with the errno that it gets. Perl's syscall() is given numbers of x86_64. */
const refusedCalls: readonly [call: string, number: number, args: string, errno: string][] = [
  ["unshare(CLONE_NEWUSER)", 272, "0x10000000", "EPERM"],
  ["clone(CLONE_NEWUSER)", 56, "0x10000011, 0, 0, 0, 0", "EPERM"],
  ["clone3", 435, "0, 0", "ENOSYS"],
  ["setns", 308, "0, 0", "EPERM"],
  ["mount", 165, "0, 0, 0, 0, 0", "EPERM"],
  ["chroot", 161, "0", "EPERM"],
  ["bpf", 321, "0, 0, 0", "EPERM"],
  ["perf_event_open", 298, "0, 0, 0, 0, 0", "EPERM"],
  ["userfaultfd", 323, "0", "EPERM"],
  ["io_uring_setup", 425, "1, 0", "EPERM"],
  ["keyctl", 250, "0, 0, 0, 0, 0", "EPERM"],
  ["open_by_handle_at", 304, "0, 0, 0", "EPERM"],
  ["socket(AF_VSOCK)", 41, "40, 1, 0", "EPERM"],
  ["socket(AF_ALG)", 41, "38, 5, 0", "EPERM"],
  ["socket(AF_PACKET)", 41, "17, 3, 0", "EPERM"],
  ["personality(ADDR_NO_RANDOMIZE)", 135, "0x40000", "EPERM"],
  ["reboot", 169, "0, 0, 0, 0", "EPERM"],
];

Deno.test({
  name: "the filter refuses what is dangerous, also to root (needs x86_64)",
  ignore: Deno.build.arch !== "x86_64",
  fn: async () => {
    using box = new Box();
    const tries = refusedCalls.map(([name, number, args]) => `t("${name}", ${number}, ${args});`).join("\n");
    // A call that a missing filter lets through fails with another errno, or not at all.
    const script = `use POSIX; sub t { my ($n, @a) = @_; my $r = syscall(shift @a, @a);
      print "$n ", ($r == -1 ? ($! == EPERM ? "EPERM" : $! == ENOSYS ? "ENOSYS" : "$!") : "allowed"), "\\n" } ${tries}`;
    const expected = refusedCalls.map(([name, , , errno]) => `${name} ${errno}\n`).join("");
    for (const user of [undefined, "root"] as const) {
      assertEquals(await box.must(`cat > /tmp/t.pl <<'END'\n${script}\nEND\nperl /tmp/t.pl`, { user }), expected);
    }
    const open = await box.must(`cat > /tmp/t.pl <<'END'\n${script}\nEND\nperl /tmp/t.pl`, { seccomp: false });
    assert(open !== expected, "the test would notice that there is no filter");
  },
});

boxTest("limits hold: processes, disk, memory", async (box) => {
  const forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done";
  assertMatch((await box.run(forks, { pids: 5 })).stderr, /Cannot fork|Resource temporarily unavailable/);
  const full = await box.run("head -c 2M /dev/zero > /tmp/f; stat -c %s /tmp/f", { disk: "1MiB" });
  assertEquals([full.stdout, /No space left/.test(full.stderr)], ["1048576\n", true]);
  // The whole sandbox ends, because its first process is the only one.
  const memory = await box.run("exec perl -e '$x = q(x) x 200_000_000; print 1'", { memory: "64MiB" });
  assertEquals([memory.code, memory.stdout], [137, ""]);
});

boxTest("mounts show what they name, read-only unless asked otherwise", async (box) => {
  const [data, out, file] = ["data", "out", "file"].map((name) => join(box.directory, name));
  for (const path of [data!, out!]) Deno.mkdirSync(path);
  Deno.writeTextFileSync(join(data!, "f"), "data");
  Deno.writeTextFileSync(file!, "file");
  Deno.chmodSync(out!, 0o777);
  const mounts = [
    { source: data!, target: "/data" },
    { source: out!, target: "/tmp/deep/out", readonly: false },
    { source: data!, target: "/usr/local/share" },
    { source: file!, target: "/etc/tool.conf" },
  ];
  const script = "cat /data/f /usr/local/share/f /etc/tool.conf; echo result > /tmp/deep/out/f; touch /data/g";
  const { stdout, stderr } = await box.run(script, { mounts });
  assertEquals([stdout, /\/data\/g.*Read-only/.test(stderr)], ["datadatafile", true]);
  assertEquals(Deno.readTextFileSync(join(out!, "f")), "result\n");
});

Deno.test("root can limit what its cgroups limit, and gives no more open files than it has", () => {
  const { rootless, controllers, openFiles } = readSandboxFacts(kernel);
  assertEquals(rootless, undefined);
  for (const name of ["memory", "cpu", "pids"]) assert(controllers.has(name), name);
  const { stdout } = new Deno.Command("sh", { args: ["-c", "ulimit -Hn"] }).outputSync();
  assertEquals(`${openFiles}\n`, new TextDecoder().decode(stdout));
});

boxTest("what is weakened is weakened by name", async (box) => {
  assertEquals(await box.must("id -u; pwd", { user: "root" }), "0\n/root\n");
  assertEquals(await box.must("id -u; id -g; stat -c %u:%g ~", { user: { uid: 12, gid: 34 } }), "12\n34\n12:34\n");
  const networks = "tail -n +3 /proc/net/dev | wc -l";
  const own = [...Deno.readTextFileSync("/proc/net/dev").matchAll(/:/g)].length;
  assertEquals(await box.must(networks, { network: "host" }), `${own}\n`);
  assertMatch(
    await box.must("grep CapEff /proc/self/status", { capabilities: ["NET_BIND_SERVICE"] }),
    /0000000000000400/,
  );
  assertMatch(await box.must("grep Seccomp: /proc/self/status", { seccomp: false }), /Seccomp:\t0/);
  assertEquals(
    await box.must("echo $A $LANG; pwd; hostname", { env: { A: "b" }, cwd: "/tmp", hostname: "h" }),
    "b C.UTF-8\n/tmp\nh\n",
  );
});
