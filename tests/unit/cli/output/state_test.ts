import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { formatIds, formatList, ownerName } from "../../../../lib/cli/output/state.ts";
import { type ContainerState, formatState } from "../../../../lib/libcontainer/state/state_text.ts";

const web: ContainerState = {
  annotations: {},
  owner: "root",
  ociVersion: "1.3.0",
  id: "web",
  pid: 4711,
  status: "running",
  bundle: "/bundles/web",
  rootfs: "/bundles/web/rootfs",
  created: "2026-01-02T03:04:05.123456789Z",
};
const old: ContainerState = {
  ...web,
  id: "a-much-longer-name",
  pid: 0,
  status: "stopped",
  bundle: "/b",
  owner: "#1000",
};

Deno.test("formatState() prints runc's keys in runc's order, without a newline", () => {
  const annotated = { ...web, owner: "", annotations: { "org.z": "<1>", "org.a": "2" } };
  assertEquals(
    formatState(annotated),
    `{
  "ociVersion": "1.3.0",
  "id": "web",
  "pid": 4711,
  "status": "running",
  "bundle": "/bundles/web",
  "rootfs": "/bundles/web/rootfs",
  "created": "2026-01-02T03:04:05.123456789Z",
  "annotations": {
    "org.a": "2",
    "org.z": "\\u003c1\\u003e"
  },
  "owner": ""
}`,
  );
  assertEquals(formatState({ ...web, annotations: {} }).includes("annotations"), false);
});

Deno.test("formatList() prints a table: three spaces between columns, twelve characters at least", () => {
  assertEquals(
    formatList([web, old], "table"),
    [
      "ID                   PID         STATUS      BUNDLE         CREATED                          OWNER",
      "web                  4711        running     /bundles/web   2026-01-02T03:04:05.123456789Z   root",
      "a-much-longer-name   0           stopped     /b             2026-01-02T03:04:05.123456789Z   #1000",
      "",
    ].join("\n"),
  );
  assertEquals(
    formatList([], "table"),
    "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n",
  );
});

Deno.test("formatList() counts characters, whatever they take in memory", () => {
  const [header, row] = formatList([{ ...web, bundle: "/b\u{1F4E6}/long/enough" }], "table").split("\n");
  assertEquals([...row!].slice(0, header!.indexOf("CREATED")).join("").trimEnd().endsWith("enough"), true);
  assertEquals([...row!].slice(header!.indexOf("CREATED")).join("").startsWith(web.created), true);
});

Deno.test("formatList() prints JSON on one line, and null for nothing", () => {
  assertEquals(formatList([], "json"), "null\n");
  assertEquals(
    formatList([old], "json"),
    '[{"ociVersion":"1.3.0","id":"a-much-longer-name","pid":0,"status":"stopped","bundle":"/b",' +
      '"rootfs":"/bundles/web/rootfs","created":"2026-01-02T03:04:05.123456789Z","owner":"#1000"}]\n',
  );
});

Deno.test("formatList() refuses another format", () => {
  assertThrows(() => formatList([], "xml"), RuncError, "invalid format option");
});

Deno.test("formatIds() prints one id a line", () => {
  assertEquals(formatIds([web, old]), "web\na-much-longer-name\n");
  assertEquals(formatIds([]), "");
});

Deno.test("ownerName() looks a user up, and falls back to the number", () => {
  const passwd = "root:x:0:0:root:/root:/bin/sh\njo:x:1000:1000::/home/jo:/bin/sh\n";
  assertEquals([ownerName(0, passwd), ownerName(1000, passwd), ownerName(7, passwd)], ["root", "jo", "#7"]);
});

Deno.test("formatState() adds how the process ended after runc's keys; formatList() does not", () => {
  const exit = { source: "monitor", status: 3, code: 3 } as const;
  const text = formatState({ ...old, exit });
  assertEquals(
    text.endsWith(`"owner": "#1000",
  "exit": {
    "source": "monitor",
    "status": 3,
    "code": 3
  }
}`),
    true,
    text,
  );
  assertEquals(formatList([{ ...old, exit }], "json").includes("exit"), false);
});
