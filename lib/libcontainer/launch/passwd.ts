/**
 * HOME from the container's /etc/passwd.
 *
 * @module
 */

/**
 * The home directory of `uid` in the text of an /etc/passwd, found like runc does: in the first matching line. `/` if
 * there is none.
 */
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
