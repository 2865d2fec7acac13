/**
 * The kernels that tests/vm boots. README.md says what each can do.
 *
 * @module
 */

import { ensureInstalled, findBusybox } from "../../tools/packages.ts";
import { giveUp } from "../../tools/bundle.ts";
import { must, Suite } from "./packages.ts";

/** How one is made. */
export interface Kernel {
  /** What another one makes another kernel. */
  readonly recipe: string;
  /** Into `directory`: `kernel`, `initrd` if it starts with one, and `modules` where the disk is to have them. */
  readonly make: (directory: string) => void;
}

/**
 * Debian's User Mode Linux, with the libc that it was built for. Since 6.16 it runs its processes under seccomp instead of ptrace:
 * several times faster. Bookworm's is older.
 */
export const debianKernel: Kernel = {
  recipe: "user-mode-linux of sid",
  make(directory) {
    ensureInstalled([{ package: "patchelf", program: "patchelf" }]);
    const unpacked = `${directory}/unpacked`;
    using sid = new Suite("sid", `${directory}/packages`);
    sid.unpack(["user-mode-linux", "libc6"], unpacked);
    Deno.renameSync(`${unpacked}/usr/bin/linux.uml`, `${directory}/kernel`);
    Deno.renameSync(`${unpacked}/usr/lib/uml/modules`, `${directory}/modules`);
    Deno.renameSync(`${unpacked}/usr/lib/x86_64-linux-gnu`, `${directory}/lib`);
    Deno.removeSync(unpacked, { recursive: true });
    // The directory's name once it is done.
    const libraries = `${directory.replace(/\.new$/, "")}/lib`;
    const loader = ["--set-interpreter", `${libraries}/ld-linux-x86-64.so.2`, "--set-rpath", libraries];
    must("patchelf", [...loader, `${directory}/kernel`], "give the kernel its libc");
  },
};

const fullConfig = new URL("kernel.config", import.meta.url).pathname;

/** User Mode Linux with all that kernel.config asks for, from Debian's sources. */
export const fullKernel: Kernel = {
  get recipe() {
    return Deno.readTextFileSync(fullConfig);
  },
  make(directory) {
    ensureInstalled([
      // With the headers of libc, which gcc comes without.
      { package: "build-essential", program: "g++" },
      ...["make", "flex", "bison", "bc"].map((name) => ({ package: name, program: name })),
      { package: "xz-utils", program: "xz" },
    ]);
    const unpacked = `${directory}/unpacked`;
    const source = `${directory}/source`;
    using sid = new Suite("sid", `${directory}/packages`);
    const name = sid.currentOf("linux-source");
    sid.unpack([name], unpacked);
    Deno.mkdirSync(source);
    must(
      "tar",
      ["xf", `${unpacked}/usr/src/${name}.tar.xz`, "-C", source, "--strip-components=1"],
      "unpack the sources",
    );
    Deno.removeSync(unpacked, { recursive: true });
    const make = (...words: string[]) =>
      must("make", ["-s", "-C", source, "ARCH=um", ...words], `make ${words.at(-1)}`);
    make("defconfig");
    const merge = ["-C", source, "scripts/kconfig/merge_config.sh", "-m", ".config", fullConfig];
    must("env", merge, "merge the kernel's configuration");
    make("olddefconfig");
    checkConfig(Deno.readTextFileSync(`${source}/.config`));
    console.log(`building ${name} for User Mode Linux: about 25 minutes of processor time`);
    make(`-j${navigator.hardwareConcurrency}`, "linux");
    must("strip", ["--strip-debug", "-o", `${directory}/kernel`, `${source}/linux`], "strip the kernel");
    Deno.removeSync(source, { recursive: true });
  },
};

/** An option whose own needs are not met is dropped without a word. */
function checkConfig(config: string): void {
  const lines = new Set(config.split("\n").map((line) => line.replace(/^# (CONFIG_\w+) is not set$/, "$1=n")));
  const wanted = fullKernel.recipe.split("\n").filter((line) => line.startsWith("CONFIG_"));
  const lost = wanted.filter((line) => !lines.has(line));
  if (lost.length > 0) giveUp(`this kernel does not have what ${fullConfig} asks for: ${lost.join(" ")}`);
}

/** What the machine of qemu mounts its disk with. ext4 asks for its checksum in a way that busybox does not know. */
const diskModules = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];
/** What is loaded in it later. */
const laterModules = "9p 9pnet_virtio overlay autofs4 loop fuse dummy veth bridge tun rdma_rxe crc32_generic bfq".split(
  " ",
);

/** Runs in: qemu's machine, as its first process, until that is systemd. */
const initScript = `#!/bin/busybox sh
busybox mount -t devtmpfs none /dev
busybox mount -t proc none /proc
busybox modprobe -a ${diskModules.join(" ")}
for _ in $(busybox seq 1000); do
  [ -b /dev/vda ] && break
  busybox usleep 10000
done
busybox mount -t ext4 /dev/vda /disk
busybox cp -a /lib/modules /disk/usr/lib/
busybox umount /proc
busybox mount --move /dev /disk/dev
exec busybox switch_root /disk /sbin/init
`;

/** Debian's kernel for real machines. Its modules come along, and are copied to the disk. */
export const qemuKernel: Kernel = {
  recipe: `linux-image-amd64 of bookworm ${initScript} ${laterModules.join(" ")}`,
  make(directory) {
    ensureInstalled([{ package: "kmod", program: "depmod" }, { package: "cpio", program: "cpio" }]);
    const unpacked = `${directory}/unpacked`;
    using bookworm = new Suite("bookworm", `${directory}/packages`);
    const name = bookworm.currentOf("linux-image-amd64");
    bookworm.unpack([name], unpacked);
    const version = name.replace("linux-image-", "");
    Deno.renameSync(`${unpacked}/boot/vmlinuz-${version}`, `${directory}/kernel`);
    const tree = `${directory}/tree`;
    for (const path of ["bin", "dev", "proc", "disk", `lib/modules/${version}`]) {
      Deno.mkdirSync(`${tree}/${path}`, { recursive: true });
    }
    must("depmod", ["--basedir", unpacked, version], "list the kernel's modules");
    for (const module of [...diskModules, ...laterModules]) {
      const show = ["--dirname", unpacked, "--set-version", version, "--show-depends", module];
      const { stdout } = must("modprobe", show, `find the module ${module}`);
      for (const [, path = ""] of stdout.matchAll(/^insmod (\S+)/gm)) {
        Deno.copyFileSync(path, `${tree}/lib/modules/${version}/${path.replace(/^.*\//, "")}`);
      }
    }
    for (const list of ["modules.builtin", "modules.order"]) {
      Deno.copyFileSync(`${unpacked}/lib/modules/${version}/${list}`, `${tree}/lib/modules/${version}/${list}`);
    }
    must("depmod", ["--basedir", tree, version], "list the machine's modules");
    Deno.copyFileSync(findBusybox(), `${tree}/bin/busybox`);
    Deno.writeTextFileSync(`${tree}/init`, initScript, { mode: 0o755 });
    const archive = `find . | cpio --quiet --create --format=newc | gzip -1 >${directory}/initrd`;
    must("env", ["-C", tree, "sh", "-c", archive], "pack what the machine starts with");
    for (const path of [unpacked, tree]) Deno.removeSync(path, { recursive: true });
  },
};
