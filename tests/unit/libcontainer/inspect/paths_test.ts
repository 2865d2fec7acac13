import { assertEquals } from "@std/assert";
import { pathFindings } from "../../../../lib/libcontainer/inspect/paths.ts";
import { fileAt, stateOf, viewOf } from "./fixed.ts";

const mounts = `1 0 0:1 / / rw - overlay overlay rw
2 1 0:2 / /proc rw - proc proc rw
3 2 0:3 /null /proc/keys rw - tmpfs tmpfs rw
4 2 0:4 / /proc/acpi ro - tmpfs tmpfs ro
5 2 0:5 / /proc/scsi rw - tmpfs tmpfs rw
6 2 0:2 /sys /proc/sys ro - proc proc rw
`;

Deno.test("masked paths show /dev/null or an empty read-only directory; read-only ones are on a read-only mount", () => {
  const state = stateOf({
    linux: {
      maskedPaths: ["/proc/keys", "/proc/acpi", "/proc/scsi", "/proc/open", "/proc/none", "/proc/secret"],
      readonlyPaths: ["/proc/sys", "/proc/sys/fs", "/proc/open", "/none/x"],
    },
  });
  const files = {
    "/proc/keys": fileAt("/proc/keys", 3),
    "/proc/acpi": fileAt("/proc/acpi", 4),
    "/proc/scsi": fileAt("/proc/scsi", 5),
    "/proc/open": fileAt("/proc/open", 2),
    "/proc/none": { error: "ENOENT" },
    "/proc/secret": { error: "EACCES" },
    "/proc/sys": fileAt("/proc/sys", 6),
    "/proc/sys/fs": fileAt("/proc/sys/fs", 6),
    "/none/x": { error: "ENOTDIR" },
  };
  const found = pathFindings(state, viewOf({ mounts, files }));
  assertEquals(found.map(({ field, kernel, verdict }) => [field, kernel, verdict]), [
    ["/linux/maskedPaths/0", "masked", "same"],
    ["/linux/maskedPaths/1", "masked", "same"],
    ["/linux/maskedPaths/2", "visible", "different"],
    ["/linux/maskedPaths/3", "visible", "different"],
    ["/linux/maskedPaths/4", "does not exist", "same"],
    ["/linux/maskedPaths/5", undefined, "unknown"],
    ["/linux/readonlyPaths/0", "read-only", "same"],
    ["/linux/readonlyPaths/1", "read-only", "same"],
    ["/linux/readonlyPaths/2", "writable", "different"],
    ["/linux/readonlyPaths/3", "does not exist", "same"],
  ]);
});
