/**
 * HOME from the container's /etc/passwd.
 *
 * @module
 */

/** Home directory of `uid` in the text of an /etc/passwd, as runc finds it: the first line that fits. `/` where there is none. */
export function homeOf(uid: number, passwd: string): string {
  for (const line of passwd.split("\n")) {
    // name:password:uid:gid:gecos:directory:shell. passwd(5)
    const fields = line.split(":");
    if (fields.length >= 6 && /^\d+$/.test(fields[2]!) && Number(fields[2]) === uid) {
      const home = fields[5]!;
      return home.includes("\0") || home === "" ? "/" : home;
    }
  }
  return "/";
}
