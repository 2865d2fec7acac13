import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { groupFacts, writeIdMaps } from "../../../../lib/libcontainer/launch/id_maps.ts";
import { findProgram } from "../../../../lib/libcontainer/launch/host_tool.ts";
import { runtimeOn } from "../../host/containers.ts";
import { type FakeHost, file, type Program } from "../../host/host.ts";
import type { HostOptions } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";

const user: HostOptions = { uid: 1000 };
const own = [{ containerID: 0, hostID: 1000, size: 1 }];
const ranges = [...own, { containerID: 1, hostID: 100000, size: 65536 }];

/** Writes the maps of a process; returns what its files have then. */
function write(
  host: FakeHost,
  maps: { uid: typeof own; gid: typeof own },
): Readonly<Record<string, string | undefined>> {
  const { runtime, wait } = runtimeOn(host, { environment: { PATH: "/opt/bin:/usr/bin" } });
  const process = host.start("stage");
  try {
    wait(writeIdMaps(runtime, process.pid, maps, { uid: host.uid, gid: host.uid }));
  } finally {
    assertEquals([host.openFiles, host.others.length], [[], 1], "the tools are reaped, and nothing is open");
  }
  const { files } = process;
  return { uid: files.get("uid_map"), gid: files.get("gid_map"), setgroups: files.get("setgroups") };
}

/** A tool that is installed. */
function install(host: FakeHost, name: string, program: Program): void {
  const made = host.fs.put(`/usr/bin/${name}`, file());
  made.mode |= 0o111;
  host.programs.set(`/usr/bin/${name}`, program);
}

/** newuidmap and newgidmap: what they are asked for is in `asked`. */
function installTools(host: FakeHost, asked: (readonly string[])[]): void {
  for (const name of ["newuidmap", "newgidmap"]) {
    install(host, name, function* ({ argv }) {
      yield host.sleep(3);
      asked.push(argv);
      return 0;
    });
  }
}

/** The kernel refuses maps of other users' ids. */
function refuseMaps(host: FakeHost, pid = 1001): void {
  for (const name of ["uid_map", "gid_map"]) host.refuse(`write /proc/${pid}/${name}`, Errno.EPERM);
}

Deno.test("root writes the maps itself", () => {
  withHost((host) => {
    assertEquals(write(host, { uid: ranges, gid: ranges }), {
      uid: "0 1000 1\n1 100000 65536\n",
      gid: "0 1000 1\n1 100000 65536\n",
      setgroups: "allow\n",
    });
  });
});

Deno.test("a user who maps the own group only denies setgroups first", () => {
  withHost((host) => {
    assertEquals(write(host, { uid: own, gid: own }), { uid: "0 1000 1\n", gid: "0 1000 1\n", setgroups: "deny" });
    assertEquals(groupFacts(own, { isDenied: false, writer: { uid: 1000, gid: 1000 } }).isDenied, true);
    assertEquals(groupFacts(ranges, { isDenied: false, writer: { uid: 1000, gid: 1000 } }).isDenied, false);
  }, user);
});

Deno.test("other users' ids are mapped by newuidmap and newgidmap", () => {
  withHost((host) => {
    refuseMaps(host);
    const asked: (readonly string[])[] = [];
    installTools(host, asked);
    write(host, { uid: ranges, gid: ranges });
    const words = ["1001", "0", "1000", "1", "1", "100000", "65536"];
    assertEquals(asked, [["newgidmap", ...words], ["newuidmap", ...words]]);
  }, user);
});

Deno.test("a missing tool is an error that names its package", () => {
  withHost((host) => {
    refuseMaps(host);
    const error = assertThrows(() => write(host, { uid: ranges, gid: ranges }), RuncError);
    assertEquals(error.message, "cannot map other users' ids: newgidmap is not installed");
    assertEquals([error.field, error.hint?.includes("uidmap (Debian)")], ["/linux/gidMappings", true]);
  }, user);
});

Deno.test("what a tool says is the error", () => {
  withHost((host) => {
    refuseMaps(host);
    install(host, "newgidmap", function* (process) {
      yield () => true;
      process.file(2).write(new TextEncoder().encode("write to gid_map failed\n"));
      return 1;
    });
    const error = assertThrows(() => write(host, { uid: ranges, gid: ranges }), RuncError);
    assertEquals(error.message, "newgidmap 1001 0 1000 1 1 100000 65536: write to gid_map failed");
    assertEquals(error.hint, "map only your own id and the ids that /etc/subgid lists for you, each once");
  }, user);
});

Deno.test("a tool that cannot be executed is an error", () => {
  withHost((host) => {
    refuseMaps(host);
    installTools(host, []);
    host.refuse("execve /usr/bin/newgidmap", Errno.ENOEXEC);
    assertThrows(
      () => write(host, { uid: ranges, gid: ranges }),
      RuncError,
      "cannot execute /usr/bin/newgidmap: exec format error",
    );
  }, user);
});

Deno.test("root's refused map is an error with its field and a short text", () => {
  withHost((host) => {
    refuseMaps(host);
    const many = Array.from({ length: 100 }, (_, index) => ({ containerID: index, hostID: 9, size: 1 }));
    const error = assertThrows(() => write(host, { uid: own, gid: many }), RuncError);
    assertEquals([error.code, error.field], ["syscall-failed", "/linux/gidMappings"]);
    assertEquals(error.message.includes('..." to /proc/1001/gid_map: '), true);
    assertEquals(error.hint, "mapping other users' ids requires CAP_SETUID and CAP_SETGID");
  });
});

Deno.test("setgroups that cannot be denied is an error", () => {
  withHost((host) => {
    host.refuse("write /proc/1001/setgroups", Errno.EPERM);
    const error = assertThrows(() => write(host, { uid: own, gid: own }), RuncError);
    assertEquals(/^cannot deny setgroups for process 1001: /.test(error.message), true);
    assertEquals(error.field, "/linux/gidMappings");
  }, user);
});

Deno.test("programs are found by PATH, also in the current directory", () => {
  withHost((host) => {
    const find = (PATH?: string) =>
      findProgram(runtimeOn(host, { environment: PATH === undefined ? {} : { PATH } }).runtime, "tool");
    host.fs.put("/usr/bin/tool", file());
    assertEquals(find(), undefined, "not executable");
    host.fs.get("/usr/bin/tool").mode |= 0o111;
    assertEquals([find(), find("/bin:/usr/bin"), find("/bin")], ["/usr/bin/tool", "/usr/bin/tool", undefined]);
    host.fs.put("/tool", file()).mode |= 0o111;
    assertEquals(find("/bin:"), "./tool");
  });
});
