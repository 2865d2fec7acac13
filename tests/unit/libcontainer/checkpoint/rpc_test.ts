// The bytes were made by protoc 3.21.12 from CRIU 4.2's images/rpc.proto:
//   protoc --encode=criu_req rpc.proto < TEXT
import { assertEquals } from "@std/assert";
import {
  CgMode,
  type CriuReq,
  type CriuResp,
  decodeResp,
  encodeReq,
  ReqType,
  reqTypeName,
} from "../../../../lib/libcontainer/checkpoint/rpc.ts";

Deno.test("encodeReq() writes what protoc writes", () => {
  const cases: readonly [CriuReq, string][] = [
    [
      {
        type: ReqType.DUMP,
        opts: {
          images_dir_fd: 300,
          pid: 4242,
          leave_running: true,
          shell_job: false,
          log_level: 4,
          log_file: "dump.log",
          ps: { address: "127.0.0.1", port: 27277 },
          root: "/b/rootfs",
          work_dir_fd: 8,
          ext_mnt: [{ key: "/dev/null", val: "/dev/null" }, { key: "/pü", val: "/x" }],
          cg_root: [{ ctrl: "cpu,cpuacct", path: "/box" }],
          inherit_fd: [{ key: "pipe:[77]", fd: -1 }],
          manage_cgroups_mode: CgMode.DEFAULT,
          external: ["net[4026531840]:extRootNetNS"],
          empty_ns: 0x40000000,
          join_ns: [{ ns: "uts", ns_file: "/n" }],
          lsm_mount_context: "c",
        },
      },
      "080112c30108ac02109221180138004804520864756d702e6c6f675a0f0a093132372e302e302e31108dd5016a092f622f726f6f746673" +
      "880108ba01160a092f6465762f6e756c6c12092f6465762f6e756c6cba010a0a042f70c3bc12022f78ca01130a0b6370752c6370756163" +
      "637412042f626f78da01160a09706970653a5b37375d10ffffffffffffffffff01900206aa021c6e65745b343032363533313834305d3a" +
      "657874526f6f744e65744e53b0028080808004ba02090a0375747312022f6efa030163",
    ],
    [
      { type: ReqType.NOTIFY, notify_success: true, keep_open: true, features: { mem_track: true, lazy_pages: false } },
      "0806180120012a0408011000",
    ],
    [
      { type: ReqType.RESTORE, opts: { images_dir_fd: -1, empty_ns: 0xffffffff } },
      "0802121208ffffffffffffffffff01b002ffffffff0f",
    ],
  ];
  for (const [value, hex] of cases) assertEquals(encodeReq(value).toHex(), hex);
});

Deno.test("decodeResp() reads what protoc writes, and skips fields that this program does not use", () => {
  const cases: readonly [string, CriuResp][] = [
    [
      "080610012a110a0c706f73742d726573746f7265109321",
      { type: ReqType.NOTIFY, success: true, notify: { script: "post-restore", pid: 4243 } },
    ],
    [
      // Also version.extra, version.name and status.
      "080a10015214080410021a0476342e322001280532044352495558f9ffffffffffffffff01",
      {
        type: ReqType.VERSION,
        success: true,
        version: { major_number: 4, minor_number: 2, gitid: "v4.2", sublevel: 1 },
      },
    ],
    [
      // Also ps and features.pidfd_store.
      "080110001a0208013202100138164204080018014a0d4572726f72202878293a206e6f",
      {
        type: ReqType.DUMP,
        success: false,
        dump: { restored: true },
        cr_errno: 22,
        cr_errmsg: "Error (x): no",
        features: { mem_track: false },
      },
    ],
  ];
  for (const [hex, value] of cases) assertEquals(decodeResp(Uint8Array.fromHex(hex)), value);
});

Deno.test("reqTypeName() names a type as CRIU does", () => {
  assertEquals([ReqType.DUMP, ReqType.SINGLE_PRE_DUMP, 99].map(reqTypeName), ["DUMP", "SINGLE_PRE_DUMP", "99"]);
});
