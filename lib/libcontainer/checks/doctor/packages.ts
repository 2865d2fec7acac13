/**
 * Commands that install packages. Pure.
 *
 * @module
 */

import type { Distribution } from "./facts.ts";

const managers: Readonly<Record<Exclude<Distribution, "other">, string>> = {
  debian: "apt-get install -y",
  fedora: "dnf install -y",
  alpine: "apk add",
  arch: "pacman -S --noconfirm",
  suse: "zypper install -y",
};

/** The packages' names. */
const packages = {
  uidmap: { debian: "uidmap", fedora: "shadow-utils", alpine: "shadow-subids", arch: "shadow", suse: "shadow" },
  libseccomp: {
    debian: "libseccomp2",
    fedora: "libseccomp",
    alpine: "libseccomp",
    arch: "libseccomp",
    suse: "libseccomp2",
  },
  libsystemd: {
    debian: "libsystemd0",
    fedora: "systemd-libs",
    alpine: "elogind",
    arch: "systemd-libs",
    suse: "libsystemd0",
  },
  procps: { debian: "procps", fedora: "procps-ng", alpine: "procps", arch: "procps-ng", suse: "procps" },
  criu: { debian: "criu", fedora: "criu", alpine: "criu", arch: "criu", suse: "criu" },
} as const satisfies Readonly<Record<string, Readonly<Record<Exclude<Distribution, "other">, string>>>>;

/** A package by its name here. */
export type Package = keyof typeof packages;

/** The command that installs a package; for an unknown distribution a line that names it. */
export function installCommand(distribution: Distribution, name: Package): string {
  if (distribution === "other") return `install the package of ${packages[name].debian}`;
  return `${managers[distribution]} ${packages[name][distribution]}`;
}

/** The distribution in /etc/os-release. @see os-release(5) */
export function distributionOf(osRelease: string): Distribution {
  const value = (key: string) => new RegExp(`^${key}="?([^"\\n]*)"?$`, "m").exec(osRelease)?.[1] ?? "";
  const words = `${value("ID")} ${value("ID_LIKE")}`.split(" ");
  const families: readonly (readonly [word: string, family: Distribution])[] = [
    ["debian", "debian"],
    ["ubuntu", "debian"],
    ["fedora", "fedora"],
    ["rhel", "fedora"],
    ["alpine", "alpine"],
    ["arch", "arch"],
    ["suse", "suse"],
    ["opensuse", "suse"],
  ];
  return words.flatMap((word) => families.find(([name]) => name === word)?.[1] ?? [])[0] ?? "other";
}
