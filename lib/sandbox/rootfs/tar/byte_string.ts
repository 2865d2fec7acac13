/**
 * File names as the kernel has them: bytes. A {@link ByteString} holds one byte in each character, so that names in any
 * encoding survive, and can be split, compared and used as keys like other strings. Pure.
 *
 * @module
 */

/** A string whose characters are bytes, U+0000 to U+00FF. */
export type ByteString = string & { readonly [brand]: true };
declare const brand: unique symbol;

/** The bytes as characters. */
export function byteString(bytes: Uint8Array): ByteString {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text as ByteString;
}

/** The UTF-8 bytes of a usual string. */
export function utf8ByteString(text: string): ByteString {
  return byteString(new TextEncoder().encode(text));
}

/** The bytes of `text`. */
export function bytesOf(text: ByteString): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** `text` with a NUL at its end, for libc. It must not contain one: {@link cleanPath} refuses that. */
export function cBytes(text: ByteString): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length + 1);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** For messages: read as UTF-8, in quotes. */
export function shown(text: ByteString): string {
  return JSON.stringify(new TextDecoder().decode(bytesOf(text)));
}
