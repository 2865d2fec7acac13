import { assertEquals } from "@std/assert";
import { idFindings } from "../../../../lib/libcontainer/inspect/ids.ts";
import { named, stateOf, viewOf } from "./fixed.ts";

const told = (found: ReturnType<typeof idFindings>, name: string) => {
  const { config, kernel, verdict } = named(found, name);
  return [config, kernel, verdict];
};

Deno.test("ids are compared on the host, and shown as in the container", () => {
  const mapped = {
    namespaces: [{ type: "user" }] as const,
    uidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
    gidMappings: [{ containerID: 0, hostID: 200_000, size: 10 }, { containerID: 10, hostID: 300_000, size: 100 }],
  };
  const status = { Uid: "100033 100033 100033 100033", Gid: "300002 300002 300002 300002", Groups: "200006 200005 7 " };
  const view = viewOf({ status, uidMap: "0 100000 65536\n", gidMap: " 10 300000 100\n 0 200000 10\n" });
  const found = idFindings(stateOf({ linux: mapped }), view, { uid: 33, gid: 12, additionalGids: [5, 6] });
  assertEquals(told(found, "uid"), ["33 (100033 on the host)", "33 (100033 on the host)", "same"]);
  assertEquals(told(found, "gid"), ["12 (300002 on the host)", "12 (300002 on the host)", "same"]);
  assertEquals(told(found, "additional groups"), [
    "5 (200005 on the host), 6 (200006 on the host)",
    "5 (200005 on the host), 6 (200006 on the host), not mapped (7 on the host)",
    "different",
  ]);
  assertEquals(told(found, "uidMappings")[2], "same");
  assertEquals(told(found, "gidMappings")[2], "same", "the kernel may sort the lines");
  const other = idFindings(stateOf({ linux: mapped }), viewOf({ uidMap: "0 100000 65535\n" }), undefined);
  assertEquals(told(other, "uidMappings")[2], "different");
});

Deno.test("without a user namespace, ids are as they are, and maps are no finding", () => {
  const found = idFindings(stateOf(), viewOf({ status: { Uid: "0 5 5 5", Groups: "2 10 1" } }), {
    uid: 0,
    gid: 0,
    additionalGids: [10, 1, 2],
  });
  assertEquals(told(found, "uid"), ["0", "real 0, effective 5, saved 5, file system 5", "different"]);
  assertEquals(told(found, "additional groups"), ["1, 2, 10", "1, 2, 10", "same"]);
  assertEquals(found.map(({ name }) => name), ["uid", "gid", "additional groups", "umask"]);
});

Deno.test("the umask is the config's, or the default", () => {
  const umask = (value: number | undefined, shown: string) =>
    told(
      idFindings(
        stateOf({ process: { user: { uid: 0, gid: 0, umask: value } } }),
        viewOf({ status: { Umask: shown } }),
        undefined,
      ),
      "umask",
    );
  assertEquals(umask(undefined, "0022"), ["0022", "0022", "same"]);
  assertEquals(umask(0, "0000"), ["0000", "0000", "same"]);
  assertEquals(umask(0o77, "0022"), ["0077", "0022", "different"]);
});

Deno.test("without config.json, the user is unknown, and the kernel's is shown", () => {
  const found = idFindings(stateOf(), viewOf({ status: { Uid: "7 7 7 7" } }), undefined);
  assertEquals(told(found, "uid"), [undefined, "7", "unknown"]);
  assertEquals(named(found, "uid").note, "config.json cannot be read");
});
