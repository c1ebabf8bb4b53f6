export const join = (first, last) => `${first} ${last}`;

export function split(name) {
  const at = name.lastIndexOf(' ');
  if (at < 0) throw new Error(`“${name}” is only one name`);
  return [name.slice(0, at), name.slice(at + 1)];
}
