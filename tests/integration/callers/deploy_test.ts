/** deploy/: its image, built by Buildah, installs runc-ts on a node, as a DaemonSet's pod does, and removes it. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import { projectDir } from "../../../tools/bundle.ts";
import { execute } from "../harness.ts";
import { ContainerState, NamespaceMode } from "./cri.ts";
import {
  ended,
  importImage,
  inside,
  logOf,
  type Node,
  openNode,
  restart,
  secured,
  start,
  statusOf,
  withPod,
} from "./node.ts";
import { missing, Workshop } from "./workshop.ts";

/** What the tests start, as the manifest of `what` has it. */
function isInManifest(what: "install" | "uninstall", variables: readonly string[]): void {
  const manifest = Deno.readTextFileSync(`${projectDir}/deploy/${what}.yaml`);
  const lines = variables.map((name) => `- { name: ${name}, value: `);
  for (const line of ["hostPID: true", `args: [${what}]`, "args: [wait]", "privileged: true", ...lines]) {
    assert(manifest.includes(line), `${what}: ${line}`);
  }
}

/** Makes the release for this machine. */
async function release(out: string): Promise<void> {
  const args = ["run", "--allow-all", "--no-check", "--config", `${projectDir}/deno.json`];
  const tool = [`${projectDir}/tools/release/release.ts`, "--arch", ARCHITECTURE, "--out", out];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: [...args, ...tool] }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

const ARCHITECTURE = Deno.build.arch === "aarch64" ? "arm64" : "amd64";

/** Builds the image of deploy/Dockerfile, as the README says, on a base that needs no registry. Returns its archive. */
function buildImage(workshop: Workshop, context: string): string {
  const { directory } = workshop;
  const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`;
  const env = { CONTAINERS_STORAGE_CONF: workshop.write("storage.conf", storage) };
  const buildah = (...args: string[]) => workshop.must(["/usr/bin/buildah", ...args], { env });
  buildah("from", "--name=base", "scratch");
  buildah("add", "base", `${directory}/rootfs.tar`, "/");
  buildah("config", "--env=PATH=/bin", "base");
  buildah("commit", "--quiet", "base", "localhost/base");
  const { version } = JSON.parse(Deno.readTextFileSync(`${projectDir}/deno.json`));
  const options = ["--file", `${projectDir}/deploy/Dockerfile`, "--build-arg", `VERSION=${version}`];
  const given = ["--build-arg", "BASE=localhost/base"];
  buildah("build", "--quiet", ...options, ...given, "--tag", IMAGE, context);
  const archive = `${directory}/image.tar`;
  buildah("push", "--quiet", IMAGE, `docker-archive:${archive}:${IMAGE}`);
  return archive;
}

const IMAGE = "docker.io/library/runc-ts:test";

/** Runs a container as the DaemonSet's: privileged, with the node's processes. Returns its log. */
async function onNode(node: Node, command: string, env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const namespaces = { pid: NamespaceMode.NODE };
  let log: readonly string[] = [];
  await withPod(node, namespaces, async (pod) => {
    const id = await start(node, pod, [], {
      image: { image: IMAGE },
      args: [command],
      envs: Object.entries(env).map(([key, value]) => ({ key, value })),
      linux: { security_context: { privileged: true, namespace_options: namespaces } },
    });
    const { exit_code } = await ended(node, id, 5);
    log = logOf(node, pod);
    assertEquals(exit_code, 0, log.join("\n"));
  }, { privileged: true });
  return log;
}

/** The node has no runtime of the runtime class. */
async function isUnknown(node: Node): Promise<void> {
  const config = { metadata: { name: "none", uid: "none", namespace: "default", attempt: 0 } };
  const { error } = await node.kubelet.try("RunPodSandbox", { config, runtime_handler: "runc-ts" });
  assertMatch(error ?? "", /no runtime for "runc-ts" is configured/);
}

/** The DaemonSet's other container, with its rights: it waits, and ends when it is told to. */
async function waits(node: Node): Promise<void> {
  await withPod(node, {}, async (pod) => {
    const context = { run_as_user: { value: 65534 }, readonly_rootfs: true, no_new_privs: true };
    const capabilities = { drop_capabilities: ["ALL"] };
    const given = { image: { image: IMAGE }, args: ["wait"], ...secured({ ...context, capabilities }) };
    const container_id = await start(node, pod, [], given);
    assertEquals((await statusOf(node, container_id)).state, ContainerState.RUNNING);
    await node.kubelet.call("StopContainer", { container_id, timeout: 60 });
    assertEquals((await statusOf(node, container_id)).exit_code, 0);
  });
}

async function installsAndUninstalls(workshop: Workshop): Promise<void> {
  const { directory } = workshop;
  let node = await openNode(workshop);
  try {
    await release(`${directory}/release`);
    importImage(workshop, buildImage(workshop, `${directory}/release`));
    const config = `${directory}/containerd.toml`, wanted = `${directory}/restart-wanted`;
    const before = Deno.readTextFileSync(config);
    const prefix = `${directory}/opt/runc-ts`;
    const env = { PREFIX: prefix, CONTAINERD_CONFIG: config, CONTAINERD_RESTART: `touch ${wanted}` };
    for (const what of ["install", "uninstall"] as const) isInManifest(what, Object.keys(env));

    await isUnknown(node);
    assertEquals((await onNode(node, "install", env)).at(-1), "stdout F runc-ts is installed");
    assertMatch(execute([`${prefix}/bin/runc`, "--version"]).stdout, /^program: snapshot$/m);
    assert(existsSync(wanted) && !existsSync(`${prefix}.release`));
    Deno.removeSync(wanted);
    node = await restart(workshop, node);
    await withPod(node, {}, async (pod) => {
      const id = await start(node, pod, ["sleep", "1000"]);
      assertEquals(await inside(node, id, "echo hello"), "hello\n");
    }, { handler: "runc-ts" });

    await waits(node);

    // A pod that starts again, as after the node's boot, changes nothing.
    const program = Deno.readLinkSync(`${prefix}/bin/runc`);
    await onNode(node, "install", env);
    assertEquals([Deno.readLinkSync(`${prefix}/bin/runc`), existsSync(wanted)], [program, false]);

    assertEquals((await onNode(node, "uninstall", env)).at(-1), "stdout F runc-ts is not installed");
    assertEquals([Deno.readTextFileSync(config).trimEnd(), existsSync(wanted)], [before.trimEnd(), true]);
    assertEquals([...Deno.readDirSync(`${directory}/opt`)].map(({ name }) => name), []);
    node = await restart(workshop, node);
    await isUnknown(node);
  } finally {
    await node.kubelet.close();
  }
}

const lacking = missing(
  [["containerd", "containerd"], ["ctr", "containerd"], ["buildah", "buildah"], ["npm", "npm"]].map((
    [program, name],
  ) => ({ program: program!, package: name! })),
);
Deno.test({
  name: `deploy: a pod installs runc-ts on its node, and another removes it${lacking}`,
  ignore: lacking !== "",
  fn: async () => {
    using workshop = new Workshop();
    await installsAndUninstalls(workshop);
  },
});

Deno.test("deploy: containerd's configuration gets the tables of its version, and the kubelet's driver of cgroups", () => {
  for (
    const [text, plugin, systemd] of [
      ["version = 2\n", "io.containerd.grpc.v1.cri", "false"],
      ["version = 3\n[a]\n  SystemdCgroup = true\n", "io.containerd.cri.v1.runtime", "true"],
    ] as const
  ) {
    const { code, stdout } = configured(text);
    assertEquals(code, 0);
    assert(stdout.startsWith(text), stdout);
    for (const line of [`[plugins."${plugin}".containerd.runtimes.runc-ts]`, `    SystemdCgroup = ${systemd}`]) {
      assert(stdout.includes(`\n${line}\n`), `${line}: ${stdout}`);
    }
  }
  const { code, stdout, stderr } = configured("[plugins]\n");
  assertEquals([code, stdout], [1, "[plugins]\n"]);
  assertMatch(stderr, /^error: .* has neither version 2 nor version 3\n$/);
});

Deno.test("deploy: a configuration that may have passwords stays readable for its owner alone", () => {
  const { code, stdout, mode } = configured("version = 2\n");
  assertEquals([code, mode], [0, 0o600]);
  assertMatch(stdout, /runc-ts/);
});

Deno.test("deploy: a configuration that cannot be read, or is cut, is not replaced", () => {
  const text = "version = 2\n# BEGIN runc-ts\n[a]\n";
  const { code, stdout, stderr } = configured(text);
  assertEquals([code, stdout], [1, text]);
  assertMatch(stderr, /^error: .* has the line "# BEGIN runc-ts", and not "# END runc-ts"\n$/);
  const unread = configured("version = 2\n", false);
  assertEquals([unread.code, unread.stdout], [1, "version = 2\n"]);
  assertMatch(unread.stderr, /error: cannot read .*config.toml\n$/);
});

/** What came of a configuration. */
interface Configured {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly mode: number;
}

/**
 * What `install` makes of a configuration, on a node that has this release; nsenter only executes the rest.
 * `isReadable`: the node can read it.
 */
function configured(text: string, isReadable = true): Configured {
  const directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  try {
    for (const name of ["release/deploy", "prefix", "bin"]) Deno.mkdirSync(`${directory}/${name}`, { recursive: true });
    Deno.copyFileSync(`${projectDir}/deploy/node.sh`, `${directory}/release/deploy/node.sh`);
    Deno.writeTextFileSync(`${directory}/release/sbom.cdx.json`, "");
    Deno.writeTextFileSync(`${directory}/prefix/release`, execute(["/usr/bin/sha256sum"], { stdin: "" }).stdout);
    Deno.writeTextFileSync(`${directory}/bin/nsenter`, '#!/bin/sh\nshift 4\nexec "$@"\n', { mode: 0o755 });
    const found = `[ "$1" != ${directory}/prefix/release ] || exec /bin/cat "$1"`;
    const cat = `#!/bin/sh\n${found}\n${isReadable ? 'exec /bin/cat "$@"' : "exit 1"}\n`;
    Deno.writeTextFileSync(`${directory}/bin/cat`, cat, { mode: 0o755 });
    Deno.writeTextFileSync(`${directory}/config.toml`, text, { mode: 0o600 });
    const env = {
      PATH: `${directory}/bin:/usr/bin:/bin`,
      PREFIX: `${directory}/prefix`,
      CONTAINERD_CONFIG: `${directory}/config.toml`,
      CONTAINERD_RESTART: ":",
    };
    const { code, stderr } = execute(["/bin/sh", `${directory}/release/deploy/node.sh`, "install"], { env });
    const config = `${directory}/config.toml`;
    return { code, stdout: Deno.readTextFileSync(config), stderr, mode: Deno.statSync(config).mode! & 0o777 };
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}
