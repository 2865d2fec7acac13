/** `runc events` and `runc top` on the host's v1 controllers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { getAttributes, setWindowSize } from "../../lib/ffi/terminal.ts";
import { readExposition } from "../fixtures/prometheus_reader.ts";
import { openPty } from "../fixtures/pty.ts";
import { readUntil } from "./foreground_harness.ts";
import { type Box, boxTest, comparing, everyone, execute, kernel, until } from "./harness.ts";

const MEMORY_LIMIT = 32 << 20;

function start(box: Box): void {
  box.startSleeping((config) => {
    config.linux.resources = {
      ...config.linux.resources,
      memory: { limit: MEMORY_LIMIT },
      pids: { limit: 20 },
    };
  });
}

boxTest("events --stats prints the same as Debian's runc", (box) => {
  start(box);
  // Nothing is counted while nobody runs, but what was before the kernel may count only now.
  box.must(["pause", box.id]);
  const stats = () => box.must(["events", "--stats", box.id]);
  const { ours, theirs } = until("numbers that stay", () => {
    const ours = stats();
    const { stdout: theirs } = execute(["/usr/sbin/runc", "--root", box.root, "events", "--stats", box.id]);
    return stats() === ours && { ours, theirs };
  });
  // runc 1.5 leaves out what is empty here.
  assertEquals(ours, theirs.replace(',"throttling":{}', ""));
  const { type, id, data } = JSON.parse(ours);
  assertEquals([type, id, data.memory.usage.limit, data.pids], ["stats", box.id, MEMORY_LIMIT, {
    current: 1,
    limit: 20,
  }]);
  box.remove();
});

boxTest("events tells of a lack of memory, and ends with the container", (box) => {
  start(box);
  using events = box.start(["events", "--interval", "10ms", box.id]);
  // From here on it is watching.
  events.says('"type":"stats"');
  assertEquals(box.runc(["exec", box.id, "tail", "-c", "200000000", "/dev/zero"]).code, 137);
  events.says('{"type":"oom","id":"box"}\n');
  box.remove();
  const { code, stdout } = events.wait();
  assertEquals(code, 0);
  const types = stdout.trimEnd().split("\n").map((line) => JSON.parse(line).type);
  assertEquals([...new Set(types)], ["stats", "oom"]);
});

boxTest("events ends without a word when nobody reads it any more", (box) => {
  start(box);
  const reader = execute([
    "/bin/sh",
    "-c",
    '"$@" | head -n 1',
    "sh",
    ...box.argv("events", "--interval", "1ms", box.id),
  ]);
  assertEquals([reader.code, reader.stderr, reader.stdout.split("\n").length], [0, "", 2]);
  box.remove();
});

comparing("events of a stopped container, and of no interval, are refused", (box) => {
  box.must(["run", "--keep", box.id]);
  const stopped = box.runc(["events", "--stats", box.id]);
  assertMatch(stopped.stderr, /container with id box is not running/);
  box.remove();
  start(box);
  const none = box.runc(["events", "--interval", "0s", box.id]);
  assertMatch(none.stderr, /duration interval must be greater than 0/);
  box.remove();
  return [stopped.code, none.code];
}, everyone);

boxTest("events --format prometheus has samples of one container, or of all that run", (box) => {
  start(box);
  box.write((config) => {
    config.linux.cgroupsPath = `${box.cgroup}-other`;
  });
  box.must(["create", "other"]);
  const one = box.must(["events", "--format", "prometheus", box.id]);
  assertMatch(one, new RegExp(`^runc_container_memory_limit_bytes\\{id="box"\\} ${MEMORY_LIMIT}$`, "m"));
  assert(!one.includes('id="other"'));
  const ids = (text: string) =>
    readExposition(text).get("runc_container_pids")!.samples.map(({ labels }) => labels["id"]);
  assertEquals(ids(one), ["box"]);
  const all = box.must(["events", "--format", "prometheus", "--all"]);
  for (const id of ["box", "other"]) assert(all.includes(`runc_container_pids{id="${id}"} 1\n`), all);
  assertEquals(ids(all), ["box", "other"]);
  assertEquals(box.must(["events", "--stats", "--all"]).trimEnd().split("\n").map((line) => JSON.parse(line).id), [
    "box",
    "other",
  ]);
  assertMatch(box.refused(["events", "--all"]).msg, /^--all needs --stats/);
  box.remove();
  box.remove("other");
});

boxTest("top prints one table where there is no terminal", (box) => {
  assertEquals(box.must(["top", "--interval", "1ms"]).trimEnd().split("\n").length, 1);
  start(box);
  box.must(["pause", box.id]);
  const [header = "", row = "", ...rest] = box.must(["top", "--interval", "1ms"]).trimEnd().split("\n");
  assertEquals(header.split(/ +/).slice(0, 3), ["ID", "STATUS", "CPU%"]);
  assertMatch(row, /^box +paused +0\.0 .* 32M +0 +1\/20 /);
  assertEquals(rest, []);
  box.remove();
});

boxTest("top goes on on a terminal, within its size, and leaves its modes alone", (box) => {
  start(box);
  const { master, slave } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  setWindowSize(kernel, slave.number, { rows: 10, columns: 30, xPixels: 0, yPixels: 0 });
  const modes = getAttributes(kernel, slave.number);
  const startedMs = performance.now();
  using top = box.start(["top", "--interval", "100ms"], { stdin: slave, stdout: slave, stderr: slave });
  const redraw = "\x1b[H\x1b[J";
  const screen = readUntil(master, (text) => text.split(redraw).length > 4);
  // The first at once, then one an interval: it sleeps in between.
  assert(performance.now() - startedMs >= 200);
  const [before, ...tables] = screen.split(redraw);
  assertEquals(before, "");
  for (const table of tables.slice(0, -1)) {
    const lines = table.split("\r\n");
    assertEquals(lines.map((line) => line.split(/ +/)[0]), ["ID", "box", ""]);
    assert(lines.every((line) => line.length <= 30), table);
  }
  assertEquals(getAttributes(kernel, slave.number), modes);
  top.signal(2);
  assertEquals(top.wait().code, 130);
  assertEquals(getAttributes(kernel, slave.number), modes);
  box.remove();
});

boxTest("top with --once prints one table on a terminal too", (box) => {
  start(box);
  const { master, slave } = openPty(kernel);
  using _master = master;
  using _slave = slave;
  using top = box.start(["top", "--once", "--interval", "1ms"], { stdin: slave, stdout: slave, stderr: slave });
  assertEquals(top.wait().code, 0);
  assertMatch(readUntil(master, (text) => text.split("\n").length > 2), /^ID [^\n]*\r\nbox +running [^\n]*\r\n$/);
  box.remove();
});
