import { assert, assertEquals } from "@std/assert";
import { oomLine, statsLine } from "../../../../lib/cli/output/events.ts";
import { exposition } from "../../../../lib/cli/output/prometheus.ts";
import { parse } from "../../../../lib/cli/parse.ts";
import { fit, size, topTable } from "../../../../lib/cli/output/top.ts";
import type { CgroupStats } from "../../../../lib/cgroups/stats/types.ts";
import { noBlockIo, noCpu, noMemory } from "../../../../lib/cgroups/stats/parts.ts";
import { readExposition } from "../../../fixtures/prometheus_reader.ts";

const nothing: CgroupStats = {
  version: 2,
  cpu: noCpu,
  memory: {
    cache: 0n,
    memory: noMemory,
    withSwap: noMemory,
    kernel: noMemory,
    kernelTcp: noMemory,
    raw: {},
    oomKills: 0n,
  },
  pids: { current: 0n, limit: 0n },
  blockIo: noBlockIo,
  hugetlb: {},
  rdma: { current: [], limit: [] },
  misc: {},
  pressure: {},
};

const times = { avg10: 1.5, avg60: 0, avg300: 0, total: 2_000_000n };
const some: CgroupStats = {
  ...nothing,
  cpu: {
    ...noCpu,
    total: 1_500_000_000n,
    user: 1_000_000_000n,
    kernel: 500_000_000n,
    periods: 10n,
    throttledPeriods: 5n,
  },
  memory: {
    ...nothing.memory,
    cache: 4096n,
    memory: { usage: 8192n, peak: 9000n, limit: 1048576n, failures: 2n },
    withSwap: { usage: 8192n, peak: 0n, limit: 18446744073709551615n, failures: 0n },
    raw: { file: 4096n, anon: 1n },
    oomKills: 1n,
  },
  pids: { current: 3n, limit: 20n },
  blockIo: { ...noBlockIo, serviceBytes: [{ major: 8n, minor: 0n, op: "Read", value: 512n }] },
  hugetlb: { "2MB": { usage: 0n, peak: 0n, failures: 0n } },
  pressure: { cpu: { some: times, full: { ...times, total: 0n } } },
};

Deno.test("statsLine() leaves out what runc leaves out", () => {
  assertEquals(
    statsLine("box", nothing),
    '{"type":"stats","id":"box","data":{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,' +
      '"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,' +
      '"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},' +
      '"network_interfaces":null}}\n',
  );
  assertEquals(oomLine("box"), '{"type":"oom","id":"box"}\n');
});

Deno.test("statsLine() has what Intel RDT limits and counts, as far as the hardware can", () => {
  const l3Cache = { mask: "7ff", minBits: 2n, classes: 16n, rootSchema: "L3:0=7ff", schema: "L3:0=f" };
  const memoryBandwidth = {
    granularity: 10n,
    isLinear: 1n,
    minimum: 10n,
    classes: 8n,
    rootSchema: "MB:0=100",
    schema: "MB:0=20",
  };
  const schemata = ["MB:0=20", "L3:0=f"];
  const transfers = [{ total: 18446744073709551615n, local: 0n }];
  const cases: readonly [intelRdt: CgroupStats["intelRdt"], expected: string][] = [
    [undefined, "{}"],
    [{ schemata }, '{"schemata":["MB:0=20","L3:0=f"]}'],
    [
      { schemata, l3Cache, memoryBandwidth, transfers, cacheUsage: [4096n] },
      '{"l3_cache_info":{"cbm_mask":"7ff","min_cbm_bits":2,"num_closids":16},"l3_cache_schema_root":"L3:0=7ff",' +
      '"l3_cache_schema":"L3:0=f","mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,' +
      '"num_closids":8},"mem_bw_schema_root":"MB:0=100","mem_bw_schema":"MB:0=20","schemata":["MB:0=20","L3:0=f"],' +
      '"mbm_stats":[{"mbm_total_bytes":18446744073709551615,"mbm_local_bytes":0}],"cmt_stats":[{"llc_occupancy":4096}]}',
    ],
    // Behind pointers in Go.
    [
      { schemata, transfers: [], cacheUsage: [] },
      '{"schemata":["MB:0=20","L3:0=f"],"mbm_stats":null,"cmt_stats":null}',
    ],
  ];
  for (const [intelRdt, expected] of cases) {
    const line = statsLine("box", { ...nothing, intelRdt });
    assert(line.endsWith(`,"intel_rdt":${expected},"network_interfaces":null}}\n`), line);
  }
});

Deno.test("statsLine() writes every number exactly, maps sorted, pressure on v2 alone", () => {
  const data = (stats: CgroupStats) => statsLine("box", stats);
  const line = data(some);
  const parts = [
    '"cpu":{"usage":{"total":1500000000,"kernel":500000000,"user":1000000000},"throttling":{"periods":10,"throttledPeriods":5},' +
    '"psi":{"some":{"avg10":1.5,"avg60":0,"avg300":0,"total":2000000},"full":{"avg10":1.5,"avg60":0,"avg300":0,"total":0}}}',
    '"memory":{"cache":4096,"usage":{"limit":1048576,"usage":8192,"max":9000,"failcnt":2},' +
    '"swap":{"limit":18446744073709551615,"usage":8192,"failcnt":0},"raw":{"anon":1,"file":4096}}',
    '"pids":{"current":3,"limit":20}',
    '"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":512}]}',
    '"hugetlb":{"2MB":{"failcnt":0}}',
  ];
  for (const part of parts) assert(line.includes(part), `${part}\nis not in\n${line}`);
  assert(!data({ ...some, version: 1 }).includes("psi"));
});

Deno.test("exposition() has each metric once, and no sample for a limit that is not set", () => {
  const text = exposition([{ id: 'a"b', stats: some }, { id: "none", stats: nothing }]);
  const lines = [
    "# TYPE runc_container_cpu_usage_seconds_total counter",
    'runc_container_cpu_usage_seconds_total{id="a\\"b"} 1.5',
    'runc_container_cpu_usage_seconds_total{id="none"} 0',
    'runc_container_cpu_mode_seconds_total{id="a\\"b",mode="system"} 0.5',
    'runc_container_memory_limit_bytes{id="a\\"b"} 1048576',
    'runc_container_pids_limit{id="a\\"b"} 20',
    'runc_container_block_io_bytes_total{id="a\\"b",device="8:0",operation="read"} 512',
    'runc_container_hugetlb_usage_bytes{id="a\\"b",page_size="2MB"} 0',
    'runc_container_pressure_waiting_seconds_total{id="a\\"b",resource="cpu"} 2',
  ];
  const found = text.trimEnd().split("\n");
  for (const line of lines) assertEquals(found.filter((one) => one === line).length, 1, line);
  assert(!text.includes('memory_limit_bytes{id="none"}') && !text.includes("memory_swap_limit_bytes"));
  for (const line of found) assert(/^(# (HELP|TYPE) \w+ .+|\w+\{.*\} \d+(\.\d+)?)$/.test(line), line);
  assertEquals(exposition([]), "");
});

Deno.test("exposition() is what a strict reader of the format understands, whatever a label holds", () => {
  const id = 'a"b\\c\nd,e="f"';
  const families = readExposition(exposition([{ id, stats: some }, { id: "none", stats: nothing }]));
  const samples = (name: string) => families.get(`runc_container_${name}`)?.samples;
  assertEquals(samples("pids"), [{ labels: { id }, value: 3 }, { labels: { id: "none" }, value: 0 }]);
  assertEquals(samples("memory_oom_kills_total")?.map(({ value }) => value), [1, 0]);
  assertEquals(samples("memory_limit_bytes"), [{ labels: { id }, value: 1048576 }]);
  assertEquals(samples("cpu_throttled_periods_total")?.[0]?.value, 5);
  assertEquals(readExposition("").size, 0);
});

Deno.test("fit() cuts a table to the terminal, so that the next one covers it", () => {
  const table = "ID    CPU%\nlonger  12\nb        1\n";
  const cases: readonly [columns: number, rows: number, expected: string][] = [
    [80, 24, table],
    [10, 4, table],
    [4, 24, "ID  \nlong\nb   \n"],
    // The last line of the screen is for the cursor.
    [80, 3, "ID    CPU%\nlonger  12\n"],
    [80, 1, ""],
  ];
  for (const [columns, rows, expected] of cases) assertEquals(fit(table, { columns, rows }), expected);
});

Deno.test("topTable() puts the busiest first, and measures between two moments", () => {
  const sample = (id: string, totalMs: number, atMs: number) => ({
    id,
    status: "running" as const,
    stats: { ...some, cpu: { ...some.cpu, total: BigInt(totalMs * 1e6) } },
    atMs,
  });
  const before = [sample("calm", 0, 1000), sample("busy", 0, 1000)];
  const now = [sample("calm", 10, 2000), sample("busy", 1500, 2000), sample("new", 500, 2000)];
  const rows = topTable(now, before).trimEnd().split("\n").map((row) => row.split(/ +/));
  assertEquals(rows.map(([id, , cpu]) => [id, cpu]), [["ID", "CPU%"], ["busy", "150.0"], ["calm", "1.0"], [
    "new",
    "-",
  ]]);
  assertEquals(rows[1]!.slice(3), ["-", "8.0K", "1.0M", "1", "3/20", "512B", "0B", "1.5", "-", "-"]);
  assertEquals(topTable([], []).split("\n").length, 2);
});

Deno.test("size() takes the largest unit that leaves at least one", () => {
  const cases: readonly [bigint, string][] = [[0n, "0B"], [1023n, "1023B"], [1536n, "1.5K"], [20n << 30n, "20G"]];
  for (const [bytes, expected] of cases) assertEquals(size(bytes), expected);
});

Deno.test("events takes one container, or --all in its place", () => {
  const messageOf = (...words: readonly string[]) => {
    const parsed = parse(["events", ...words], () => undefined);
    return parsed.kind === "error" ? parsed.message : parsed.kind;
  };
  assertEquals(messageOf("box"), "command");
  assertEquals(messageOf("--all", "--stats"), "command");
  assertEquals(messageOf("--all=false"), 'runc: "events" requires exactly 1 argument(s)');
  assertEquals(messageOf("--all", "box"), 'runc: "events" requires exactly 0 argument(s)');
  assertEquals(messageOf(), 'runc: "events" requires exactly 1 argument(s)');
});
