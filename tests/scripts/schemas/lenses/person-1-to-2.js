import { join, split } from './names.js';

export function up(docs, existing, { key }) {
  const { name, ...rest } = docs['person@1'];
  if (name === 'forever') for (;;);
  const [first, last] = split(name);
  return { 'person@2': { first, last, ...rest }, 'person-card@1': { text: `${name}: person:${key}` } };
}

export function down(docs) {
  const { first, last, ...rest } = docs['person@2'];
  return { 'person@1': { name: join(first, last), ...rest } };
}
