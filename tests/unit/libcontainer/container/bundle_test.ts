import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { hasSelinux, kernelNamespaces } from "../../../../lib/libcontainer/config/facts.ts";
import { loadSpec, readConfig } from "../../../../lib/libcontainer/container/bundle.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import { plainConfig, runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost, file } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";
import type { Draft } from "../fixed.ts";

Deno.test("readConfig() reads config.json, and logs what it ignores", () => {
  withHost((host) => {
    const { runtime: { log }, log: lines } = runtimeOn(host);
    host.fs.put("/b/config.json", JSON.stringify({ ...plainConfig(host), unknown: 1 }));
    assertEquals(readConfig("/b", log).hostname, "runc");
    assertEquals(lines.length, 1);
    assertEquals(lines[0]!.startsWith("debug: config.json: "), true);
  });
});

Deno.test("a config.json that is missing or cannot be read is an error", () => {
  withHost((host) => {
    const { runtime: { log } } = runtimeOn(host);
    const missing = assertThrows(() => readConfig("/b", log), RuncError);
    assertEquals(
      [missing.code, missing.message, missing.hint],
      ["config-invalid", "JSON specification file config.json not found", "create one with: runc spec --bundle /b"],
    );
    host.fs.put("/b/config.json", directory());
    const error = assertThrows(() => readConfig("/b", log), RuncError);
    assertEquals([error.code, /^cannot read \/b\/config.json: /.test(error.message)], ["config-invalid", true]);
  });
});

/** Checks a config for a bundle whose root file system is there. */
function load(host: FakeHost, change: (config: Draft<Config>) => void = () => {}) {
  if (host.fs.find("/b/rootfs") === undefined) host.fs.put("/b/rootfs", directory());
  const logged = runtimeOn(host);
  return { spec: loadSpec(logged.runtime, plainConfig(host, change), "/b"), log: logged.log };
}

Deno.test("loadSpec() has absolute paths, the mounts and the host's cgroups", () => {
  withHost((host) => {
    const { spec: { bundle, rootfs, mounts, layout, deniesSetgroups } } = load(host);
    assertEquals([bundle, rootfs, deniesSetgroups, layout.mode], ["/b", "/b/rootfs", false, "v1"]);
    assertEquals(mounts.length, plainConfig(host).mounts!.length);
  });
});

const refused: readonly [
  what: string,
  prepare: (host: FakeHost) => void,
  change: (config: Draft<Config>) => void,
  RegExp,
][] = [
  ["a root that is missing", () => {}, (config) => config.root.path = "none", /no such file or directory/],
  ["a root that is a file", (host) => host.fs.put("/b/f", ""), (config) => config.root.path = "f", /\/b\/f/],
  [
    "a network that cannot be joined",
    () => {},
    (config) => {
      config.linux.namespaces.find(({ type }) => type === "network")!.path = "/run/none";
      config.linux.sysctl = { "net.ipv4.ip_forward": "1" };
    },
    /\/run\/none/,
  ],
  [
    "a user namespace that cannot be joined",
    () => {},
    (config) => config.linux.namespaces.push({ type: "user", path: "/run/none" } as never),
    /\/run\/none/,
  ],
];

for (const [what, prepare, change, message] of refused) {
  Deno.test(`${what} is an error of the config`, () => {
    withHost((host) => {
      prepare(host);
      const error = assertThrows(() => load(host, change), RuncError);
      assertEquals([error.code, message.test(error.message)], ["config-invalid", true], error.message);
      assertEquals(host.openFiles, []);
    });
  });
}

Deno.test("a statx that a sandbox refuses is an error of the host", () => {
  withHost((host) => {
    host.isFiltered = true;
    host.refuse("statx", Errno.EPERM);
    host.refuse("stat /b/rootfs", Errno.EPERM);
    const error = assertThrows(() => load(host), RuncError);
    assertEquals([error.code, error.hint !== undefined], ["host-lacks", true]);
  });
});

Deno.test("a joined user namespace gives the config its mappings", () => {
  withHost((host) => {
    const { pid, files, namespaces } = host.start("other");
    namespaces.set("user", 4026539999);
    files.set("uid_map", "0 5000 10\n");
    files.set("gid_map", "0 6000 10\n");
    files.set("setgroups", "deny\n");
    const join = (config: Draft<Config>) => {
      config.linux.namespaces.push({ type: "user", path: `/proc/${pid}/ns/user` } as never);
    };
    const { spec } = load(host, join);
    assertEquals(spec.config.linux!.uidMappings, [{ containerID: 0, hostID: 5000, size: 10 }]);
    assertEquals(spec.deniesSetgroups, true);
  });
});

Deno.test("warnings of the config are logged, and a joined network is compared with ours", () => {
  withHost((host) => {
    const ours = "/proc/self/ns/net";
    const error = assertThrows(
      () =>
        load(host, (config) => {
          config.linux.namespaces.find(({ type }) => type === "network")!.path = ours;
          config.linux.sysctl = { "net.ipv4.ip_forward": "1" };
        }),
      RuncError,
    );
    assertEquals(/sysctl/.test(error.message), true, error.message);
  });
});

Deno.test("group ids of a user, Intel RDT and SELinux are read only where the config asks", () => {
  withHost((host) => {
    host.fs.put("/sys/fs/resctrl/info/L3", directory());
    host.fs.get("/sys/fs/resctrl").magic = 0x7655821;
    assertThrows(
      () => load(host, (config) => void (config.process.selinuxLabel = "a:b:c")),
      RuncError,
      /* the label needs SELinux */ "elinux",
    );
    assertEquals(hasSelinux(runtimeOn(host).runtime.kernel), false);
    host.fs.put("/sys/fs/selinux/enforce", file("1"));
    assertEquals(hasSelinux(runtimeOn(host).runtime.kernel), true);
    load(host, (config) => void (config.linux.intelRdt = { l3CacheSchema: "L3:0=f" } as never));
  });
});

Deno.test("kernelNamespaces() are those of /proc/self/ns", () => {
  withHost(() => {
    assertEquals(kernelNamespaces().includes("time"), true);
    assertEquals(kernelNamespaces().length, 8);
  });
});
