/** What names and addresses are made of; the rest are patterns of known_hosts, white space, or another field. */
export const HOST = /^(?!-)[^\s\x00-\x20\x7f/@*?!,|#"'\\]+$/u
export const USER = /^(?!-)[^\x00-\x1f\x7f]+$/u
