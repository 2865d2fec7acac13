import { assertEquals } from "@std/assert";
import { Errno, errnoName, errnoText } from "../../../lib/ffi/errno.ts";

/** include/uapi/asm-generic/errno-base.h and errno.h of Linux 6.1: the names in the order of their numbers, from 1; `-` is free. */
const inOrder = `
  EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV
  ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG
  ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL
  ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP
  EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS
  ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
  EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
  ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM
  EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE
  ERFKILL EHWPOISON`.trim().split(/\s+/);

Deno.test("Errno has the kernel's numbers, and no others", () => {
  const numbers = inOrder.map((name, index) => [name, index + 1] as const).filter(([name]) => name !== "-");
  assertEquals(Errno, Object.fromEntries(numbers) as typeof Errno);
});

Deno.test("errnoName() is the name of a number, or the number where it has none", () => {
  const cases: readonly [number, string][] = [
    ...inOrder.map((name, index): [number, string] => [index + 1, name === "-" ? `errno ${index + 1}` : name]),
    [0, "errno 0"],
    [134, "errno 134"],
    [512, "errno 512"],
    [4095, "errno 4095"],
  ];
  for (const [number, name] of cases) assertEquals(errnoName(number), name);
});

Deno.test("errnoText() is what callers of runc know from Go", () => {
  const cases: readonly [number, string][] = [
    [1, "operation not permitted"],
    [2, "no such file or directory"],
    [7, "argument list too long"],
    [8, "exec format error"],
    [12, "cannot allocate memory"],
    [13, "permission denied"],
    [16, "device or resource busy"],
    [17, "file exists"],
    [20, "not a directory"],
    [21, "is a directory"],
    [22, "invalid argument"],
    [28, "no space left on device"],
    [30, "read-only file system"],
    [36, "file name too long"],
    [38, "function not implemented"],
    [40, "too many levels of symbolic links"],
    [95, "operation not supported"],
    [111, "connection refused"],
    [122, "disk quota exceeded"],
    [41, "errno 41"],
    [4095, "errno 4095"],
  ];
  for (const [number, text] of cases) assertEquals(errnoText(number), text);
});

Deno.test("every errno has a text of its own", () => {
  const texts = Object.values(Errno).map(errnoText);
  assertEquals(new Set(texts).size, texts.length);
});
